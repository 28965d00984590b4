"""Plots the share of each generation over time as an SVG file: a stacked area with axes, legend and marks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_lowercase
from xml.sax.saxutils import escape

from tests.demo.shares import Moment, Sample, Series, Shares, ticks

WIDTH, PLOT_HEIGHT = 960, 320
LEFT, RIGHT, TOP = 64, 24, 56
LINE = 20  # of the legend and of the list of moments
STEPS = 200
COLOURS = ("#9aa5b1", "#3b7dd8", "#2a9d6e", "#8e6bbf", "#c08a2d")
BAD = "#d1343b"
INK, GRID = "#1f2933", "#d9dee4"
ACROSS = WIDTH - LEFT - RIGHT


def svg(title: str, samples: Sequence[Sample], moments: Sequence[Moment], series: Sequence[Series]) -> str:
    """Return the text of the file; `series` is ordered from the oldest generation, `moments` by time."""
    start, end = (pick(sample.at for sample in samples) for pick in (min, max))
    shares = Shares.of(samples, start, end, STEPS)
    height = TOP + PLOT_HEIGHT + 56 + LINE * max(len(series), len(moments)) + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 24, title, weight="600", size=16),
        *_grid(shares),
        *_areas(shares, series),
        *_frame(),
        *_marks(shares, moments),
        *_legend(series, moments, start),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _x(shares: Shares, at: float) -> float:
    return LEFT + (at - shares.start) / (shares.end - shares.start) * ACROSS


def _y(share: float) -> float:
    return TOP + (1 - share) * PLOT_HEIGHT


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "400", size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" text-anchor="{anchor}" font-weight="{weight}"'
        f' font-size="{size}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>'


def _grid(shares: Shares) -> Iterator[str]:
    """Yield the labels of the axes, with a line for each."""
    for percent in (0, 25, 50, 75, 100):
        y = _y(percent / 100)
        yield _line(LEFT, y, LEFT + ACROSS, y, GRID)
        yield _text(LEFT - 8, y + 4, f"{percent} %", "end")
    for tick in ticks(shares.end - shares.start, 12):
        x = _x(shares, shares.start + tick)
        yield _line(x, TOP + PLOT_HEIGHT, x, TOP + PLOT_HEIGHT + 5, INK)
        yield _text(x, TOP + PLOT_HEIGHT + 20, f"{tick:g}", "middle")
    yield _text(LEFT + ACROSS / 2, TOP + PLOT_HEIGHT + 38, "seconds", "middle")


def _areas(shares: Shares, series: Sequence[Series]) -> Iterator[str]:
    """Yield an area for each generation, the oldest at the bottom. A step without responses is a gap in all of them."""
    order = [one.generation for one in series]
    stacks = [shares.stacked(step, order) for step in range(len(shares.counts))]
    for number, one in enumerate(series):
        path = ""
        for step, tops in enumerate(stacks):
            bottom, top = (tops[number - 1] if number else 0.0, tops[number]) if tops else (0.0, 0.0)
            if top > bottom:
                left, right = (_x(shares, shares.start + edge * shares.step) for edge in (step, step + 1))
                path += f"M{left:.1f} {_y(top):.1f}H{right:.1f}V{_y(bottom):.1f}H{left:.1f}Z"
        yield f'<path fill="{_colour(number, one)}" shape-rendering="crispEdges" d="{path}"/>'


def _colour(number: int, series: Series) -> str:
    return BAD if series.bad else COLOURS[number % len(COLOURS)]


def _frame() -> Iterator[str]:
    yield f'<path fill="none" stroke="{INK}" d="M{LEFT} {TOP}V{TOP + PLOT_HEIGHT}H{LEFT + ACROSS}"/>'


def _marks(shares: Shares, moments: Sequence[Moment]) -> Iterator[str]:
    """Yield a vertical line for each moment, with a letter above that refers to the list below."""
    free = 0.0
    for letter, moment in zip(ascii_lowercase, moments, strict=False):
        x = min(max(_x(shares, moment.at), LEFT), LEFT + ACROSS)
        yield _line(x, TOP - 4, x, TOP + PLOT_HEIGHT, INK, ' stroke-width="1.5" stroke-dasharray="4 3"')
        yield _text(max(x, free), TOP - 8, letter, "middle", "600")
        free = max(x, free) + 10


def _legend(series: Sequence[Series], moments: Sequence[Moment], start: float) -> Iterator[str]:
    """Yield the generations on the left, the moments on the right."""
    top = TOP + PLOT_HEIGHT + 66
    for number, one in enumerate(series):
        y = top + LINE * number
        yield f'<rect x="{LEFT}" y="{y - 11}" width="14" height="14" fill="{_colour(number, one)}"/>'
        yield _text(LEFT + 22, y, one.label)
    for number, (letter, moment) in enumerate(zip(ascii_lowercase, moments, strict=False)):
        y, x = top + LINE * number, LEFT + ACROSS * 0.42
        yield _text(x, y, letter, weight="600")
        yield _text(x + 62, y, f"{moment.at - start:.1f} s", "end")
        yield _text(x + 74, y, moment.text)
