"""What systemd ignores in an environment file (systemd.exec(5), EnvironmentFile=). Pure; after its parse_env_file().

A shell would take these lines, as in a file that is sourced. Sentences never contain the text, which may be a secret.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTES = "'\""


def ignored(text: str) -> list[tuple[int, str]]:
    """Return the lines that are ignored, or taken for something else than they seem to be, each with the reason."""
    found: list[tuple[int, str]] = []
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        first, line = number, lines[number].strip(" \t\r")
        number += 1
        if not line:
            continue
        if line[0] in "#;":
            continue
        name, assigned, value = line.partition("=")
        if not assigned:
            found.append((first + 1, "it is no assignment"))
            continue
        if reason := _name_problem(name.rstrip(" \t")):
            found.append((first + 1, reason))
        quote = _open_quote(value)
        while number < len(lines) and (quote or value.endswith("\\")):
            value = lines[number]
            quote = _open_quote(value, quote)
            number += 1
        if quote:
            found.append((first + 1, "its quote is not closed, so all lines after it are part of the value"))
    return found


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
