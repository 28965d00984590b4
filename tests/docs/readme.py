"""The code blocks of README.md: the programs that it shows, the app files, and the commands of its tour."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
README = CHECKOUT / "README.md"

FILES = {"python": "app.py", "ruby": "app.rb", "js": "app.js", "go": "app.go"}
"""The file of each language's program."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXEC = re.compile(r"`exec = (\[.*?\])`")


@dataclass(frozen=True, slots=True)
class Typed:
    """A command of the tour and what it prints."""

    command: str
    output: str


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


def tour() -> list[Typed]:
    """Return the commands of the tour in the order in which they are typed."""
    found = []
    for block in blocks("console"):
        for part in re.split(r"^# ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append(Typed(command, output))
    return found
