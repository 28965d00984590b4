"""The timers of an app: when each runs next, and how its last run ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.words import age, duration, text_of, time_of

TIMER = Column("TIMER", shrinks=True, least=5)
NEXT = Column("NEXT", number=True)
STARTED = Column("LAST RUN", number=True)
GENERATION = Column("GENERATION", number=True, short="GEN")
RESULT = Column("RESULT", shrinks=True, least=6)
HEADS = [TIMER, NEXT, STARTED, GENERATION, RESULT]


def timer_lines(timers: Iterable[Mapping[str, Any]], now: datetime, width: int | None, paint: Paint) -> list[str]:
    """Return a table of timers, after an empty line; nothing if there are none."""
    rows = [_row(timer, now) for timer in timers]
    return ["", *table(HEADS, rows, width=width, paint=paint, indent=2)] if rows else []


def _row(timer: Mapping[str, Any], now: datetime) -> list[Cell | str]:
    started = age(timer.get("started"), now)
    return [
        text_of(timer, "timer", "-"),
        _next(timer, now),
        "-" if started == "-" else f"{started} ago",
        text_of(timer, "generation", "-"),
        Cell(result_of(timer) or "-", "busy" if timer.get("running") else "bad" if timer.get("failed") else ""),
    ]


def _next(timer: Mapping[str, Any], now: datetime) -> str:
    if timer.get("active") is not True:
        return "stopped"
    following = time_of(timer.get("next"))
    return f"in {duration(max(0.0, (following - now).total_seconds()))}" if following else "-"


def result_of(timer: Mapping[str, Any]) -> str:
    """Return how the last run ended, or that it is under way; "" if there was none."""
    if timer.get("running") is True:
        return "running"
    status, signal, result = timer.get("exit_status"), text_of(timer, "signal"), text_of(timer, "result")
    if timer.get("failed") is not True:
        return result
    if result == "timeout":
        return "timed out"
    if result == "oom-kill":
        return "ran out of memory"
    if signal:
        return f"killed by {signal}"
    return f"exited with status {status}" if result == "exit-code" and isinstance(status, int) else f"failed ({result})"
