"""Words and numbers: durations, counts, widths; and fields of JSON that may be missing."""

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
    """Return a field as printable text; `default` for None, "" and a missing field."""
    value = source.get(key)
    return default if value is None or value == "" else printable(str(value))


def number_of(source: Mapping[str, Any], key: str, default: int = 0) -> int:
    """Return a field as an integer; `default` if it is not a number."""
    value = source.get(key)
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1e18 else default


def list_of(source: Mapping[str, Any], key: str) -> list[Any]:
    """Return a field that is a list; an empty list if it is not."""
    value = source.get(key)
    return value if isinstance(value, list) else []


def command_of(source: Mapping[str, Any]) -> str:
    """Return ``command``, an argv or text, as it would be typed in a shell."""
    command = source.get("command")
    if isinstance(command, list):
        import shlex

        return printable(shlex.join(map(str, command)))
    return text_of(source, "command")


def dicts_of(source: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the objects in a field that is a list."""
    return [item for item in list_of(source, key) if isinstance(item, Mapping)]


def printable(text: str) -> str:
    """Return one line without control characters: output of an application must not control the terminal."""
    if text.isascii() and text.isprintable():
        return text
    text = ESCAPES.sub("", text.encode("utf-8", "replace").decode())
    visible = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(visible.split())


def verbatim(text: str, longest: int) -> str:
    """Return a line of an application's output like :func:`printable`, but with its indentation."""
    text = ESCAPES.sub("", text[: 4 * longest].encode("utf-8", "replace").decode()).expandtabs()
    return cut("".join(char if char.isprintable() else " " for char in text).rstrip(), longest)


def columns(text: str) -> int:
    """Return the number of terminal columns that `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int, *, left: bool = False) -> str:
    """Return at most `width` columns of `text`, with an ellipsis in place of the end (or the beginning)."""
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
    """Return lines of at most `width` columns, broken between words, or within a word that is too long."""
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
    """Return `text` indented and never cut: several lines if it is too long; none if less than two columns are left."""
    if width is not None and width - indent < 2:
        return []
    lines = wrapped(text, width - indent) if width is not None else [text] if text else []
    return [" " * indent + line for line in lines]


def duration(seconds: object) -> str:
    """Return ``0.4 s``, ``12 s``, ``3 min``, ``5 h`` or ``2 d``."""
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e12:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    for limit, unit, size in ((119.5, "s", 1), (119.5 * 60, "min", 60), (47.5 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def time_of(value: object) -> datetime | None:
    """Return an ISO 8601 time with a zone; None for anything else."""
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
        return parsed if parsed and parsed.utcoffset() is not None else None
    except ValueError:
        return None


def local_time(value: object, now: datetime) -> datetime | None:
    """Return an ISO 8601 time in the zone of `now`; None if it is none, or too far away for that zone."""
    then = time_of(value)
    try:
        return then.astimezone(now.tzinfo) if then else None
    except OverflowError:
        return None


def age(value: object, now: datetime) -> str:
    """Return the time between an ISO 8601 time and `now`."""
    then = time_of(value)
    return duration(max(0.0, (now - then).total_seconds())) if then else "-"


def count(number: int, noun: str) -> str:
    """Return ``1 line`` or ``2 lines``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def instance_count(source: Mapping[str, Any], key: str) -> int:
    """Return the length of ``replaced`` or ``adopted``, a list of instances; a number is accepted, too."""
    value = source.get(key)
    return len(value) if isinstance(value, list) else number_of(source, key)
