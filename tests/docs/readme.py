"""The code blocks of README.md: the programs that it shows, the app files, and the commands of its tour."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.typed import Typed, typed

CHECKOUT = Path(__file__).resolve().parents[2]
README = CHECKOUT / "README.md"

FILES = {"python": "app.py", "ruby": "app.rb", "js": "app.js", "go": "app.go"}
"""The file of each language's program."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXEC = re.compile(r"`exec = (\[.*?\])`")


def text() -> str:
    return README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks in a language, in order."""
    return [found[2] for found in _BLOCK.finditer(text()) if found[1] == language]


def program(language: str) -> str:
    """Return the program in a language."""
    [only] = blocks(language)
    return only


def exec_of(language: str) -> str:
    """Return the `exec` that the sentence above a program gives, as TOML."""
    above = text().partition(f"```{language}\n")[0]
    *_, nearest = _EXEC.finditer(above)
    return nearest[1]


def installing() -> list[list[str]]:
    """Return the ways to install deployd, each with the commands in the order in which they are typed."""
    section = text().partition("\n## Installing\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    return [[line.strip() for line in block.splitlines()] for block in blocks]


def tour() -> list[Typed]:
    """Return the commands of the tour in the order in which they are typed."""
    return [item for block in blocks("console") for item in typed(block)]
