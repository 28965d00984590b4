"""The pages in docs/ name commands, options, app files and pages that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deployd import config
from deployd.config.host import parse_host
from deployd_cli.main import main
from deployd_cli.program import COMMANDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


def subcommand(command: str, arguments: str) -> list[str]:
    """Return the command of a group, which has the options."""
    return arguments.split()[:1] if command == "fleet" else []


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_app_files_are_valid(page: str) -> None:
    for block in re.findall(r"^```toml\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL):
        if block.startswith("[host]"):
            parse_host(block, page)
        else:
            config.parse("shop", block, page)


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_these_options(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command is in backquotes, or in a line that is indented."""
    lines = [line for line in text(page).splitlines() if line.startswith("    ")]
    for quoted in (*re.findall(r"`([^`\n]+)`", text(page)), *lines):
        for command, arguments in re.findall(r"\bdeployd ([a-z]+)([^&|;]*)", quoted):
            if command == "daemon":
                continue
            assert command in COMMANDS, quoted
            main([command, *subcommand(command, arguments), "--help"])
            known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
            assert set(re.findall(r"--[a-z-]+", arguments)) <= known, quoted


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text(page)):
        assert (DOCS / link).exists(), link
