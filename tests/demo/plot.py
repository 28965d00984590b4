"""Plots the share of each generation over time as a stacked area of characters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from deployd_cli.text.paint import Paint
from deployd_cli.text.words import columns, cut
from tests.demo.shares import Moment, Sample, Series, Shares, rows, ticks

HEIGHT = 20  # rows of 5 % each
GUTTER = len("100 % |")
FILLS = ".:o#%@"  # from the oldest to the newest; distinguishable without colour
BAD = "X"
STYLES = ("dim", "good", "busy", "strong")


def plot(
    samples: Sequence[Sample], moments: Sequence[Moment], series: Sequence[Series], width: int, paint: Paint
) -> list[str]:
    """Return lines of at most `width` columns; `series` is ordered from the oldest generation, `moments` by time."""
    start, end = (pick(sample.at for sample in samples) for pick in (min, max))
    across = width - GUTTER
    shares = Shares.of(samples, start, end, across)
    styles = dict(zip((one.generation for one in series), _styles(series), strict=True))
    lines = _area(shares, styles, paint)
    lines += [" " * (GUTTER - 1) + "+" + "-" * across]
    lines += [_marks(shares, moments, paint)] if moments else []
    lines += [_times(shares, across), ""]
    legend = (f"{paint(styles[one.generation][1], styles[one.generation][0] * 2)}  {one.label}" for one in series)
    lines += [" " * GUTTER + line for line in legend]
    for letter, moment in zip(ascii_lowercase, moments, strict=False):
        lines.append(cut(f"{'':{GUTTER}}{letter}   {moment.at - start:5.1f} s  {moment.text}", width))
    return lines


def _styles(series: Sequence[Series]) -> list[tuple[str, str]]:
    """Character and style of each."""
    return [
        (BAD, "bad") if one.bad else (FILLS[number % len(FILLS)], STYLES[number % len(STYLES)])
        for number, one in enumerate(series)
    ]


def _area(shares: Shares, styles: dict[int, tuple[str, str]], paint: Paint) -> list[str]:
    """Return the rows from top to bottom, with the oldest generation at the bottom."""
    stacks = []
    for step in range(len(shares.counts)):
        given = rows(shares.of_step(step), HEIGHT)
        stacks.append([styles[generation] for generation in sorted(given) for _ in range(given[generation])])
    lines = []
    for row in reversed(range(HEIGHT)):
        cells = [stack[row] if row < len(stack) else (" ", "") for stack in stacks]
        percent = (row + 1) * 100 / HEIGHT
        label = f"{percent:3.0f} % |" if percent % 25 == 0 else "      |"
        lines.append((label + _runs(cells, paint)).rstrip())
    return lines


def _runs(cells: Sequence[tuple[str, str]], paint: Paint) -> str:
    """Return the cells as text, with one escape sequence per run of the same colour."""
    text, run, style = "", "", ""
    for char, wanted in [*cells, ("", "end")]:
        if wanted != style:
            text += paint(style, run)
            run, style = "", wanted
        run += char
    return text


def _marks(shares: Shares, moments: Sequence[Moment], paint: Paint) -> str:
    """Return a line with a letter at the time of each command; of two in the same column the later one moves right."""
    line = ""
    for letter, moment in zip(ascii_lowercase, moments, strict=False):
        column = min(max(int((moment.at - shares.start) / shares.step), 0), len(shares.counts) - 1)
        line = line.ljust(column) + letter
    return " " * GUTTER + paint("strong", line[: len(shares.counts)])


def _times(shares: Shares, across: int) -> str:
    """Return the axis labels in seconds."""
    line = ""
    for tick in ticks(shares.end - shares.start, 8):
        label, column = f"{tick:g}", int(tick / shares.step)
        at = column - len(label) // 2 if column else 0
        if at >= len(line) + bool(line) and at + columns(label) <= across - 2:
            line = line.ljust(at) + label
    return " " * GUTTER + line + " s"
