"""Generations side by side: a column for each, a row for each figure that is known for at least one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.processes import processes_of
from deployd_cli.text.table import GAP, Cell, Column, table
from deployd_cli.text.words import age, count, cut, dicts_of, indented, list_of, number_of, text_of, verbatim

UNKNOWN = "-"
NARROWEST = 9
"""Least columns of a generation."""
LABEL = 20
LONGEST = 1000
"""Columns of an error line in a pipe, where nothing else is cut."""

Generation = Mapping[str, Any]


def compare_lines(answer: Mapping[str, Any], now: datetime, *, width: int | None, paint: Paint) -> list[str]:
    """Return the table of the app, and below it that of each further process type."""
    lines = _table(answer, now, width, paint)
    for process, compared in processes_of(answer):
        if more := _table(compared, now, width, paint):
            title = f"process type {verbatim(process, LONGEST)}:"
            lines += [*([""] if lines else []), title if width is None else cut(title, width), *more]
    return lines


def _table(answer: Mapping[str, Any], now: datetime, width: int | None, paint: Paint) -> list[str]:
    """Return the table, newest generation first, as many as fit; below it their releases and their last error lines."""
    generations = dicts_of(answer, "generations")
    room = len(generations) if width is None else max(1, (width - LABEL) // (NARROWEST + GAP))
    shown = generations[:room]
    if not shown:
        return []
    heads = [Column("GENERATION"), *(Column(text_of(item, "generation", "?"), number=True) for item in shown)]
    rows = [row for label, cell in _figures(now) if (row := _row(label, [cell(item) for item in shown]))]
    lines = table(heads, rows, width=width, paint=paint)
    if rest := generations[room:]:
        lines += indented(f"{count(len(rest), 'older generation')} not shown: the terminal is too narrow", width, 0)
    for item in shown:
        lines += ["", *_below(item, width)]
    return lines


def _figures(now: datetime) -> list[tuple[str, Callable[[Generation], Cell]]]:
    return [
        ("instances ready", _ready),
        ("age", lambda item: Cell(age(item.get("since"), now))),
        ("connections", lambda item: Cell(text_of(item, "connections", UNKNOWN))),
        ("weight", lambda item: _percent(item, "share_asked")),
        ("weight, measured", lambda item: _percent(item, "share_seen")),
        ("open connections", lambda item: Cell(text_of(item, "open", UNKNOWN))),
        ("restarts", lambda item: _bad(number_of(item, "restarts"))),
        ("crashes", lambda item: _bad(number_of(item, "crashes"))),
        ("CPU", lambda item: _seconds(item, "cpu_seconds")),
        ("CPU per 1000", lambda item: _seconds(item, "cpu_per_1000")),
        ("memory", lambda item: _size(item, "memory_bytes")),
        ("memory per instance", lambda item: _size(item, "memory_per_instance")),
        ("error lines", _errors),
    ]


def _row(label: str, cells: list[Cell]) -> list[Cell | str]:
    """Return a row; an empty one if the figure is unknown for all generations."""
    return [] if all(cell.text == UNKNOWN for cell in cells) else [label, *cells]


def _below(item: Generation, width: int | None) -> list[str]:
    title = f"generation {text_of(item, 'generation', '?')}: {text_of(item, 'release', 'release unknown')}"
    errors = [verbatim(line, LONGEST) for line in list_of(item, "errors") if isinstance(line, str)]
    left_out = number_of(item, "error_lines") if not errors else 0
    errors += [f"({count(left_out, 'line')} in the journal, which you may not read)"] if left_out else []
    lines = [title, *(f"  {line}" for line in errors)]
    return lines if width is None else [cut(title, width, left=True), *(cut(line, width) for line in lines[1:])]


def _ready(item: Generation) -> Cell:
    ready, instances = number_of(item, "ready"), number_of(item, "instances")
    return Cell(f"{ready} of {instances}", "good" if ready >= instances else "busy")


def _bad(number: int, more: str = "") -> Cell:
    return Cell(f"{number}{more}", "bad" if number else "")


def _errors(item: Generation) -> Cell:
    number, more = number_of(item, "error_lines"), item.get("error_lines_more") is True
    return Cell(UNKNOWN) if more and not number else _bad(number, "+" if more else "")


def _number(item: Generation, key: str) -> float | None:
    value = item.get(key)
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e18 else None


def _percent(item: Generation, key: str) -> Cell:
    value = _number(item, key)
    return Cell(UNKNOWN if value is None else f"{value:.1f} %")


def _seconds(item: Generation, key: str) -> Cell:
    value = _number(item, key)
    return Cell(UNKNOWN if value is None else f"{value:.{2 if value < 1000 else 0}f} s")


def _size(item: Generation, key: str) -> Cell:
    """Return a size in the format of systemctl(1)."""
    value = _number(item, key)
    if value is None:
        return Cell(UNKNOWN)
    unit = ""
    for larger in "KMGTP":
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return Cell(f"{value:.1f}{unit}" if unit else f"{value:.0f}B")
