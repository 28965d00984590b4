"""Single words and numbers: how long, how many, how wide; and reading fields that may not be there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

ELLIPSIS = "…"
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]")
"""Colours and cursor movements; titles, links and other strings; the rest (ECMA-48)."""


def text_of(source: Mapping[str, Any], key: str, default: str = "") -> str:
    """A field as printable text; `default` for None, "" and what is missing."""
    value = source.get(key)
    return default if value is None or value == "" else printable(str(value))


def number_of(source: Mapping[str, Any], key: str, default: int = 0) -> int:
    value = source.get(key)
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1e18 else default


def list_of(source: Mapping[str, Any], key: str) -> list[Any]:
    value = source.get(key)
    return value if isinstance(value, list) else []


def command_of(source: Mapping[str, Any]) -> str:
    """``command`` as one would type it: an argv, or text."""
    command = source.get("command")
    if isinstance(command, list):
        import shlex

        return printable(shlex.join(map(str, command)))
    return text_of(source, "command")


def dicts_of(source: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [item for item in list_of(source, key) if isinstance(item, Mapping)]


def printable(text: str) -> str:
    """One line without control characters: what an application wrote must not steer the terminal."""
    if text.isascii() and text.isprintable():
        return text
    text = ESCAPES.sub("", text.encode("utf-8", "replace").decode())
    visible = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(visible.split())


def verbatim(text: str, longest: int) -> str:
    """A line that an application wrote: as harmless as :func:`printable` makes it, its indentation kept."""
    text = ESCAPES.sub("", text[: 4 * longest].encode("utf-8", "replace").decode()).expandtabs()
    return cut("".join(char if char.isprintable() else " " for char in text).rstrip(), longest)


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int, *, left: bool = False) -> str:
    """At most `width` columns; what is missing at the end (or the left) becomes an ellipsis."""
    if columns(text) <= width:
        return text
    if width < 1:
        return ""
    kept = list(reversed(text)) if left else list(text)
    taken, room = [], width - 1
    for char in kept:
        room -= _columns_of(char)
        if room < 0:
            break
        taken.append(char)
    return ELLIPSIS + "".join(reversed(taken)) if left else "".join(taken) + ELLIPSIS


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken between words, or within one that is too long by itself."""
    lines, line = [], ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if columns(joined) <= width:
            line = joined
            continue
        lines.append(line)
        line = ""
        for char in word:
            if columns(line) + _columns_of(char) > width:
                lines.append(line)
                line = ""
            line += char
    return [full for full in [*lines, line] if full]


def indented(text: str, width: int | None, indent: int = 2) -> list[str]:
    """Never cut: what is too long for `width` columns becomes several lines. Nothing on less than two columns."""
    if width is not None and width - indent < 2:
        return []
    lines = wrapped(text, width - indent) if width is not None else [text] if text else []
    return [" " * indent + line for line in lines]


def duration(seconds: object) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``5 h``, ``2 d``: as much as one wants to know at a glance."""
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e12:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    for limit, unit, size in ((119.5, "s", 1), (119.5 * 60, "min", 60), (47.5 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def moment(value: object) -> datetime | None:
    """An ISO 8601 time with its zone, if it is one."""
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
        return parsed if parsed and parsed.utcoffset() is not None else None
    except ValueError:
        return None


def age(value: object, now: datetime) -> str:
    """How long before `now` an ISO 8601 time was."""
    then = moment(value)
    return duration(max(0.0, (now - then).total_seconds())) if then else "-"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def instance_count(source: Mapping[str, Any], key: str) -> int:
    """``replaced`` and ``adopted`` are lists of instances; a number is understood as well."""
    value = source.get(key)
    return len(value) if isinstance(value, list) else number_of(source, key)
