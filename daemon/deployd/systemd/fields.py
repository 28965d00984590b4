"""Fields of journal entries as text that can be shown. Pure."""

from __future__ import annotations

import re
from typing import Any

LONGEST = 500
"""Characters of a line; longer lines are cut."""

# Colours and cursor movements (ECMA-48), and titles of windows.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def harmless(line: str) -> str:
    """Return a line of an application without characters that control a terminal or hide text."""
    line = _ESCAPES.sub("", line[: 4 * LONGEST]).expandtabs(4).rstrip()
    line = "".join(char if char.isprintable() else "�" for char in line)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def text(value: Any) -> str:
    """Return the value of a field as text. It is bytes if it is not UTF-8, and a list if the field occurs twice."""
    if isinstance(value, list):
        value = value[-1]
    return value.decode(errors="replace") if isinstance(value, bytes) else str("" if value is None else value)
