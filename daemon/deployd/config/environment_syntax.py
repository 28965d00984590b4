"""The lines of an environment file (systemd.exec(5), EnvironmentFile=). Pure; after systemd's parse_env_file().

A shell would take more of them, as in a file that is sourced. Sentences never contain the text, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTES = "'\""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is neither blank nor a comment; an assignment may have several lines."""

    number: int
    """Of its first line."""
    name: str
    value: str | None
    """As it is written, None if it is no assignment."""
    is_open: bool = False
    """True if its quote is not closed."""


def ignored(text: str) -> list[tuple[int, str]]:
    """Return the lines that are ignored, or taken for something else than they seem to be, each with the reason."""
    found: list[tuple[int, str]] = []
    for entry in _entries(text):
        if entry.value is None:
            found.append((entry.number, "it is no assignment"))
        elif reason := _name_problem(entry.name):
            found.append((entry.number, reason))
        if entry.is_open:
            found.append((entry.number, "its quote is not closed, so all lines after it are part of the value"))
    return found


def without_values(text: str, replacement: Callable[[str, str], str]) -> str:
    """Return the assignments, one per line, each with `replacement(name, value)` for its value, and nothing else:
    comments may contain secrets as well."""
    assigned = [(entry.name, entry.value) for entry in _entries(text) if entry.value is not None]
    return "".join(f"{name}={replacement(name, value)}\n" for name, value in assigned if _NAME.fullmatch(name))


def _entries(text: str) -> Iterator[_Entry]:
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        first, line = number, lines[number].strip(" \t\r")
        number += 1
        if not line or line[0] in "#;":
            continue
        name, assigned, value = line.partition("=")
        name = name.rstrip(" \t")
        if not assigned:
            yield _Entry(first + 1, name, None)
            continue
        quote, parts = _open_quote(value), [value]
        while number < len(lines) and (quote or parts[-1].endswith("\\")):
            parts.append(lines[number])
            quote = _open_quote(lines[number], quote)
            number += 1
        yield _Entry(first + 1, name, "\n".join(parts), bool(quote))


def _name_problem(name: str) -> str:
    if _NAME.fullmatch(name):
        return ""
    if name.startswith("export "):
        return '"export" is not part of the syntax; remove the word'
    return "a name has letters, digits and _ only, and no digit first"


def _open_quote(value: str, quote: str = "") -> str:
    """Return the quote that is open after a line of a value; `quote` is open before it."""
    start, escaped = not quote, False
    for char in value if quote else value.lstrip(" \t"):
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            if char == quote:
                quote, start = "", True
            continue
        elif start and char in _QUOTES:
            quote = char
        start = start and char in " \t"
    return quote
