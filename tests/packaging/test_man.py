"""The man page has every command with every option, every key of the app file, and every field of a failure."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deployd.model.failure import Failure, GateName
from deployd_cli.main import main
from deployd_cli.program import COMMANDS

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "packaging/man/deployd.8.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^(\*\*.*)\n:   ", PAGE, re.MULTILINE)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_it_has_every_command_with_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(entry for entry in ENTRIES if entry.startswith(f"**{command}**"))
    main([command, "--help"])
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out.split("Options:")[1])) - {"--help"}
    assert offered == set(re.findall(r"--[a-z-]+", entry))
    options = section("OPTIONS")
    assert not [option for option in offered if f"**{option}**" not in options]


def test_it_has_every_key_of_the_app_file() -> None:
    files = (CHECKOUT / f"tests/units/golden/{name}.toml" for name in ("everything", "steered"))
    used = frozenset().union(*(keys(tomllib.loads(file.read_text(encoding="utf-8"))) for file in files))
    told = section("THE APP FILE")
    missing = [key for key in used if not re.search(rf"\*{key}\*|\[{key}\]|\[rollout\.{key}\]", told)]
    assert not missing


def keys(table: dict[str, Any]) -> set[str]:
    """Keys of ours: neither variables nor systemd's directives, which begin with capitals."""
    found = {key for key in table if key.islower()}
    return found.union(*(keys(value) for value in table.values() if isinstance(value, dict))) - {"http"}


def test_it_has_every_field_of_a_failure_and_every_gate() -> None:
    told = section("JSON").split("*failure*, wherever")[1].split("\n**")[0]
    for field in dataclasses.fields(Failure):
        assert f'"{field.name}"' in told
    assert not [gate for gate in GateName if gate not in told]


def test_man_reads_every_line_of_it() -> None:
    """A line of text that begins with . or ' is a macro for man(1), and go-md2man does not mark it as text."""
    assert not [line for line in PAGE.splitlines() if line.lstrip().startswith((".", "'"))]
