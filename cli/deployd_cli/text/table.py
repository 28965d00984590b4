"""Tables of plain text within a given width.

Named tuples, not dataclasses: each dataclass adds almost a millisecond to every start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deployd_cli.text.paint import Paint
from deployd_cli.text.words import columns, cut

GAP = 2


class Column(NamedTuple):
    """A column. One that `shrinks` may be cut to `least` columns if the table is too wide, paths at their left; the
    title becomes `short` then."""

    title: str
    number: bool = False
    shrinks: bool = False
    cut_left: bool = False
    least: int = 8
    short: str = ""


class Cell(NamedTuple):
    """Text and its style. Text is measured before it is painted, so it has no escape codes."""

    text: str
    style: str = ""


def table(
    heads: Sequence[Column], rows: Iterable[Sequence[Cell | str]], *, width: int | None, paint: Paint, indent: int = 0
) -> list[str]:
    """Return the heading and a line for each row, none wider than `width` (None: unlimited)."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    titles = [Cell(head.title, "dim") for head in heads]
    widths = _widths([titles, *cells])
    if width is not None:
        if _excess(widths, width - indent) > 0:
            titles = [Cell(head.short or head.title, "dim") for head in heads]
            widths = _widths([titles, *cells])
        widths = _fit(heads, widths, width - indent)
    lines = [_line(heads, widths, row, paint) for row in [titles, *cells]]
    return [" " * indent + line if line else "" for line in lines]


def blocks_within(heads: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> int:
    """Return how many times the table fits into `width` next to itself, at least once."""
    own = _excess(_widths([[Cell(head.title) for head in heads], *rows]), 0) + GAP
    return max(1, (width + GAP) // own)


def in_blocks(
    heads: Sequence[Column], rows: Sequence[Sequence[Cell]], blocks: int
) -> tuple[list[Column], list[list[Cell]]]:
    """Return heads and rows of a table that has the rows in `blocks` next to each other, filled one after the other."""
    height = -(-len(rows) // blocks)
    filled = [*rows, *[[Cell("")] * len(heads)] * (height * blocks - len(rows))]
    return [*heads] * blocks, [[cell for row in filled[line::height] for cell in row] for line in range(height)]


def _widths(rows: Sequence[Sequence[Cell]]) -> list[int]:
    return [max(columns(cell.text) for cell in column) for column in zip(*rows, strict=True)]


def _excess(widths: Sequence[int], width: int) -> int:
    return sum(widths) + GAP * (len(widths) - 1) - width


def _fit(heads: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """Narrow the columns that shrink, the widest first; then omit columns from the right."""
    widths = list(widths)
    excess = _excess(widths, width)
    shrinking = [index for index, head in enumerate(heads) if head.shrinks and widths[index] > head.least]
    while excess > 0 and shrinking:
        widest = max(shrinking, key=lambda index: widths[index])
        least = heads[widest].least
        taken = min(excess, widths[widest] - least)
        widths[widest] -= taken
        excess -= taken
        shrinking.remove(widest)
    room = width
    for index, wanted in enumerate(widths):
        # A number that is cut is wrong, so it is omitted; the first column is always there.
        whole = index > 0 and heads[index].number
        widths[index] = max(0, min(wanted, room)) if wanted <= room or not whole else 0
        room -= widths[index] + GAP
    return widths


def _line(heads: Sequence[Column], widths: Sequence[int], row: Sequence[Cell], paint: Paint) -> str:
    line, owed = "", 0  # blanks are written only before text, so no line ends with them
    for head, width, cell in zip(heads, widths, row, strict=True):
        text = cut(cell.text, width, left=head.cut_left)
        blank = width - columns(text)
        before = blank if head.number else 0
        if text:
            line += " " * (owed + before) + paint(cell.style, text)
            owed = blank - before + GAP
        elif width:
            owed += width + GAP
    return line
