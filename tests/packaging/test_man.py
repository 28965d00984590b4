"""The manual has every command and option, every key of the app file, every field of a failure, and the D-Bus API."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from deployd import errors
from deployd.model.failure import Failure, GateName
from deployd_cli.commands.fleet import fleet
from deployd_cli.main import main
from deployd_cli.program import COMMANDS

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = {
    path.name.removesuffix(".md"): path.read_text(encoding="utf-8") for path in CHECKOUT.glob("packaging/man/*.md")
}
COMMAND, APP_FILE, API = PAGES["deployd.1"], PAGES["deployd.app.5"], PAGES["org.deployd1.5"]
ENTRIES = re.findall(r"^(\*\*.*)\n:   ", COMMAND, re.MULTILINE)
CLIENT_SIDE = {errors.RolloutFailed, errors.NothingRestarted, errors.Unreachable}


def section(page: str, title: str) -> str:
    return page.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_it_has_every_command_with_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(entry for entry in ENTRIES if entry.startswith(f"**{command}**"))
    main([command, "--help"])
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out.split("Options:")[1])) - {"--help"}
    assert offered == set(re.findall(r"--[a-z-]+", entry))
    options = section(COMMAND, "OPTIONS")
    assert not [option for option in offered if f"**{option}**" not in options]


@pytest.mark.parametrize("command", fleet)
def test_it_has_every_command_of_a_fleet_with_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(entry for entry in ENTRIES if f"**fleet {command}**" in entry)
    main(["fleet", command, "--help"])
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out.split("Options:")[1])) - {"--help"}
    assert offered == set(re.findall(r"--[a-z-]+", entry))


def test_it_has_every_key_of_the_app_file() -> None:
    files = (CHECKOUT / f"tests/units/golden/{name}.toml" for name in ("everything", "steered"))
    used = frozenset().union(*(keys(tomllib.loads(file.read_text(encoding="utf-8"))) for file in files))
    described = section(APP_FILE, "KEYS")
    missing = [key for key in used if not re.search(rf"\*{key}\*|\[{key}\]|\[rollout\.{key}\]", described)]
    assert not missing


def keys(table: dict[str, Any]) -> set[str]:
    """Keys of ours: neither variables nor systemd's directives, which begin with capitals."""
    found = {key for key in table if key.islower()}
    return found.union(*(keys(value) for value in table.values() if isinstance(value, dict))) - {"http"}


def test_it_has_every_field_of_a_failure_and_every_gate() -> None:
    described = section(COMMAND, "JSON").split("*failure*, wherever")[1].split("\n**")[0]
    for field in dataclasses.fields(Failure):
        assert f'"{field.name}"' in described
    assert not [gate for gate in GateName if gate not in described]


def test_it_has_every_member_of_the_bus_interfaces_with_its_arguments() -> None:
    """One entry for each method and signal, such as "**Scale**(instances *u*, options *a{sv}*) → generation *t*"."""
    described = re.findall(r"^\*\*.*$", API, re.MULTILINE)
    for member in ElementTree.parse(CHECKOUT / "units/org.deployd1.xml").getroot().iter():
        name, arguments = member.get("name"), member.findall("arg")
        taken = ", ".join(argument(item) for item in arguments if item.get("direction", "in") == "in")
        returned = ", ".join(argument(item) for item in arguments if item.get("direction") == "out")
        entry = f"**{name}**({taken})" + (f" → {returned}" if returned else "")
        if member.tag == "method":
            assert entry in described
        elif member.tag == "signal":
            assert f"{entry} (signal)" in described
        elif member.tag == "property":
            assert f"**{name}** *{member.get('type')}*" in API


def argument(item: ElementTree.Element) -> str:
    return f"{item.get('name')} *{item.get('type')}*"


def test_it_has_every_error_of_the_bus_interfaces() -> None:
    described = section(API, "ERRORS")
    assert not [error.name for error in errors.ALL if error not in CLIENT_SIDE and f"**{error.name}**" not in described]


@pytest.mark.parametrize("name", PAGES)
def test_man_reads_every_line_of_a_page(name: str) -> None:
    """A line of text that begins with . or ' is a macro for man(1), and go-md2man does not mark it as text."""
    assert not [line for line in PAGES[name].splitlines() if line.lstrip().startswith((".", "'"))]


@pytest.mark.parametrize("name", PAGES)
def test_sections_that_a_page_refers_to_exist(name: str) -> None:
    """A reference is "see **STEERING**", with "in deployd.app(5)" after it for a section of another page."""
    text = " ".join(PAGES[name].split())
    for title, page in re.findall(r"[Ss]ee \*\*([A-Z][A-Z, ]+)\*\*(?: in ([a-z0-9.-]+\(\d\)))?", text):
        target = page.replace("(", ".").rstrip(")") if page else name
        assert f"\n## {title}\n" in PAGES[target], (title, page)


@pytest.mark.parametrize("name", PAGES)
def test_pages_that_a_page_refers_to_exist(name: str) -> None:
    for page, number in re.findall(r"\b((?:org\.)?deployd[a-z0-9.-]*)\((\d)\)", PAGES[name].split("\n", 1)[1]):
        assert f"{page}.{number}" in PAGES, (page, number)
