"""Release directories: a line for each and, below it, why it must be kept, never cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.words import count, dicts_of, indented, list_of, printable, text_of

HEADS = [Column("STATE"), Column("GENERATIONS", shrinks=True), Column("RELEASE", shrinks=True, cut_left=True)]
STYLES = {"running": "good", "kept": "", "free": "busy", "missing": "bad", "unknown": "dim"}
REASON_INDENT = 5
MOST_NUMBERS = 6


def releases_lines(answer: Mapping[str, Any], *, width: int | None, paint: Paint) -> list[str]:
    """Return the lines, releases of the newest generations first. Missing ones that are not needed are only counted."""
    releases = dicts_of(answer, "releases")
    if not releases:
        return []
    shown = [item for item in releases if text_of(item, "state") != "missing" or _needed(item)]
    heading, *rows = table(HEADS, [_row(item) for item in shown], width=width, paint=paint)
    lines = [heading]
    for line, item in zip(rows, shown, strict=True):
        lines.append(line)
        if why := text_of(item, "why"):
            lines += indented(why, width, REASON_INDENT)
    if missing := len(releases) - len(shown):
        lines += indented(f"{count(missing, 'more release')} missing and not needed", width, 0)
    return lines


def _needed(release: Mapping[str, Any]) -> bool:
    return bool(list_of(release, "instances")) or text_of(release, "why") != "nothing needs it"


def _row(release: Mapping[str, Any]) -> list[Cell | str]:
    state = text_of(release, "state", "-")
    changed = ", changed" if release.get("changed") is True else ""
    numbers = [printable(str(number)) for number in list_of(release, "generations")]
    more = [f"and {len(numbers) - MOST_NUMBERS} more"] if len(numbers) > MOST_NUMBERS else []
    return [
        Cell(state + changed, "bad" if changed else STYLES.get(state, "")),
        ", ".join([*numbers[:MOST_NUMBERS], *more]) or "-",
        text_of(release, "release", "-"),
    ]
