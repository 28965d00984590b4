"""What was and why: a line for each generation, and its reason below it, never cut."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.paint import RESULT_STYLES, Paint
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.words import dicts_of, duration, instance_count, moment, text_of, wrapped

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
ROOMY = 100
REASON_INDENT = 5


def history_lines(history: Mapping[str, Any], now: datetime, *, width: int | None, paint: Paint) -> list[str]:
    """Newest first, as the daemon gives it. Times are told in the zone of `now`."""
    generations = dicts_of(history, "generations")
    if not generations:
        return []
    heading, *rows = table(HEADS, [_row(row, now, width) for row in generations], width=width, paint=paint)
    lines = [heading]
    for line, generation in zip(rows, generations, strict=True):
        lines.append(line)
        if reason := text_of(generation, "reason"):
            lines += _reason(reason, width)
    return lines


def _row(generation: Mapping[str, Any], now: datetime, width: int | None) -> list[Cell | str]:
    result = text_of(generation, "result", "-")
    started, finished = moment(generation.get("started")), moment(generation.get("finished"))
    return [
        text_of(generation, "generation", "-"),
        Cell(result, RESULT_STYLES.get(result, "")),
        text_of(generation, "cause", "-"),
        _when(started, now, width),
        duration((finished - started).total_seconds()) if started and finished else "-",
        str(instance_count(generation, "replaced")),
        str(instance_count(generation, "adopted")),
        text_of(generation, "release", "-"),
    ]


def _when(then: datetime | None, now: datetime, width: int | None) -> str:
    """The date shrinks where columns are dear."""
    if then is None:
        return "-"
    try:
        local = then.astimezone(now.tzinfo)
    except OverflowError:
        return "-"
    return local.strftime("%Y-%m-%d %H:%M:%S" if width is None or width >= ROOMY else "%d %b %H:%M")


def _reason(text: str, width: int | None) -> list[str]:
    indent = " " * REASON_INDENT
    return [indent + line for line in ([text] if width is None else wrapped(text, max(width - REASON_INDENT, 10)))]
