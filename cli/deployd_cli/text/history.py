"""The generations: a line for each; below it the reason, never cut, and the last lines of a failed one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.boot import boot_figures, boot_of
from deployd_cli.text.failure import explained, failure_of, journal_lines
from deployd_cli.text.fleet import fleet_words
from deployd_cli.text.paint import RESULT_STYLES, Paint
from deployd_cli.text.processes import processes_of
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.words import cut, dicts_of, duration, indented, instance_count, local_time, text_of

HEADS = [
    Column("GEN", number=True),
    Column("RESULT"),
    Column("CAUSE"),
    Column("STARTED"),
    Column("TOOK", number=True),
    Column("REPLACED", number=True),
    Column("ADOPTED", number=True),
    Column("RELEASE", shrinks=True, cut_left=True),
]
BOOT = Column("BOOT", number=True)
"""Median and maximum, between ADOPTED and RELEASE if there is room."""
ROOMY = 100
IRREVERSIBLE = "irreversible: rolling back past it requires --past-irreversible"
JOURNAL_LINES = 3
"""Journal lines of a failure; --json prints all that are kept."""
REASON_INDENT = 5


def history_lines(history: Mapping[str, Any], now: datetime, *, width: int | None, paint: Paint) -> list[str]:
    """Return the lines, newest generation first, with times in the zone of `now`."""
    generations = dicts_of(history, "generations")
    if not generations:
        return []
    booted = (width is None or width >= ROOMY) and any(map(boot_of, generations))
    heads = [*HEADS[:-1], BOOT, HEADS[-1]] if booted else HEADS
    heading, *rows = table(heads, [_row(row, now, width, booted) for row in generations], width=width, paint=paint)
    lines = [heading]
    for line, generation in zip(rows, generations, strict=True):
        lines.append(line)
        if reason := _reason(generation):
            lines += indented(reason, width, REASON_INDENT)
        if words := fleet_words(generation):
            lines += indented(words, width, REASON_INDENT)
        if generation.get("irreversible") is True:
            lines += indented(IRREVERSIBLE, width, REASON_INDENT)
        journal = [" " * REASON_INDENT + line for line in journal_lines(failure_of(generation), JOURNAL_LINES)]
        lines += journal if width is None else [cut(line, width) for line in journal]
    return lines


def _reason(generation: Mapping[str, Any]) -> str:
    """Return why the generation ended as it did, or why it was taken back after it had been live."""
    reason, by = explained(generation), text_of(generation, "taken_back_by")
    return f"taken back by generation {by}{f': {reason}' if reason else ''}" if by else reason


def _row(generation: Mapping[str, Any], now: datetime, width: int | None, booted: bool) -> list[Cell | str]:
    result = text_of(generation, "result", "-")
    return [
        text_of(generation, "generation", "-"),
        Cell(result, RESULT_STYLES.get(result, "")),
        text_of(generation, "cause", "-"),
        _when(local_time(generation.get("started"), now), width),
        duration(generation.get("duration")),
        str(_of_all_types(generation, "replaced")),
        str(_of_all_types(generation, "adopted")),
        *([boot_figures(generation)] if booted else []),
        text_of(generation, "release", "-"),
    ]


def _of_all_types(generation: Mapping[str, Any], key: str) -> int:
    """Return the number of instances of web and of all further process types."""
    types = [counts for _, counts in processes_of(generation)]
    return sum(instance_count(item, key) for item in (generation, *types))


def _when(then: datetime | None, width: int | None) -> str:
    """Return date and time, short on a narrow terminal."""
    if then is None:
        return "-"
    return then.strftime("%Y-%m-%d %H:%M:%S" if width is None or width >= ROOMY else "%d %b %H:%M")
