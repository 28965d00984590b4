"""Draws the cells as an SVG file: a panel for each traffic and server, with the wait over the load. Pure.

The same results give the same bytes. Methods differ in shape as well as in colour; colours and background follow the
reader's preference for light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from tests.bench.routing.results import CellResult, Place, Results
from tests.bench.routing.traffic import HAPROXY, HASH, LOADS, METHODS, NGINX, SERVERS, SHARED, STEERED, TRAFFICS

LEFT, TOP, ACROSS, DOWN, GAP = 64, 92, 236, 118, 28
LABELS = {
    STEERED: "steered",
    SHARED: "shared socket",
    HASH: "kernel's hash",
    NGINX: "nginx least_conn",
    HAPROXY: "HAProxy leastconn",
}
TITLES = {
    "cheap": "many cheap requests",
    "mixed": "5 % costly requests",
    "kept": "400 kept connections",
    "costly": "few costly requests",
}
COLOURS = {  # Okabe and Ito's, which colour-blind readers can distinguish, for light and dark backgrounds
    STEERED: ("#0072b2", "#56b4e9"),
    SHARED: ("#b36b00", "#e69f00"),
    HASH: ("#6b7280", "#9ca3af"),
    NGINX: ("#00795a", "#2bc79b"),
    HAPROXY: ("#b0528c", "#e08fc0"),
}
STYLE = """\
svg { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; font-size: 12px }
text { fill: #1f2933 } .back { fill: #ffffff } .grid { stroke: #d9dee4 } .frame { stroke: #7b8794; fill: none }
path.line { fill: none; stroke-width: 1.5 } path.line.steered { stroke-width: 3 } .strong { font-weight: 600 }
"""


def svg(results: Results) -> str:
    """Return the text of the file."""
    cells = dict(results.ordered())
    rows = [name for name in TRAFFICS if any(place.traffic == name for place in cells)]
    columns = [name for name in SERVERS if any(place.server == name for place in cells)]
    methods = [method for method in METHODS if any(method in cell.waits for cell in cells.values())]
    width = LEFT + len(columns) * (ACROSS + GAP)
    height = TOP + len(rows) * (DOWN + GAP) + 20
    low, high = _decades(cells)
    title = "Wait beyond the service time: 99th percentile at 30, 60 and 80 % load"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img">',
        f"<title>{title}</title>",
        f"<style>\n{STYLE}{_colours()}</style>",
        f'<rect class="back" width="{width}" height="{height}"/>',
        _text(16, 24, title, more=' class="strong" font-size="15"'),
        *_legend(methods),
    ]
    for column, server in enumerate(columns):
        x = LEFT + column * (ACROSS + GAP)
        lines.append(_text(x + ACROSS / 2, TOP - 10, SERVERS[server].words, "middle", ' class="strong"'))
        for row, traffic in enumerate(rows):
            y = TOP + row * (DOWN + GAP)
            lines += _axes(x, y, low, high, labels=not column, loads=row == len(rows) - 1)
            lines.append(_text(x + 6, y + 15, TITLES[traffic]))
            found = {load: cells[place] for load in LOADS if (place := Place(traffic, load, server)) in cells}
            if found:
                for method in reversed(methods):  # steered is above the others
                    lines += _method(x, y, low, high, method, found)
            else:
                why = "not measured" if SERVERS[server].keeps else "one request per connection"
                lines.append(_text(x + ACROSS / 2, y + DOWN / 2 + 8, why, "middle"))
    lines += [_text(LEFT + len(columns) * (ACROSS + GAP) / 2 - GAP / 2, height - 10, "load", "middle"), "</svg>"]
    return "\n".join(lines) + "\n"


def _decades(cells: Mapping[Place, CellResult]) -> tuple[int, int]:
    """Return the powers of ten between which all waits lie."""
    waits = [max(cell.p99(method), 0.1) for cell in cells.values() for method in cell.waits]
    low = math.floor(math.log10(min(waits)))
    return low, max(math.ceil(math.log10(max(waits))), low + 1)


def _colours() -> str:
    light, dark = (
        "".join(
            f".{method} {{ stroke: {colours[number]} }} .{method}.mark {{ fill: {colours[number]} }}\n"
            for method, colours in COLOURS.items()
        )
        for number in (0, 1)
    )
    night = "text { fill: #e6e9ed } .back { fill: #0d1117 } .grid { stroke: #2b333d } .frame { stroke: #7b8794 }\n"
    return f"{light}@media (prefers-color-scheme: dark) {{\n{night}{dark}}}\n"


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _legend(methods: list[str]) -> Iterator[str]:
    x = 20.0
    for method in methods:
        yield f'<path class="line {method}" d="M{x - 4:.1f} 48H{x + 24:.1f}"/>'
        yield _mark(method, x + 10, 48)
        yield _text(x + 31, 52, LABELS[method])
        x += 52 + 6.6 * len(LABELS[method])


def _axes(x: float, y: float, low: int, high: int, labels: bool, loads: bool) -> Iterator[str]:
    for power in range(low, high + 1):
        at = _y(y, low, high, 10**power)
        yield f'<path class="grid" d="M{x} {at:.1f}h{ACROSS}"/>'
        if labels:
            milliseconds = 10.0**power
            text = f"{milliseconds:g} ms" if power < 3 else f"{milliseconds / 1000:g} s"
            yield _text(x - 8, at + 4, text, "end")
    yield f'<path class="frame" d="M{x} {y}v{DOWN}h{ACROSS}"/>'
    if loads:
        for load in LOADS:
            yield _text(_x(x, load), y + DOWN + 17, f"{load} %", "middle")


def _x(left: float, load: int) -> float:
    return left + ACROSS * (LOADS.index(load) + 0.5) / len(LOADS)


def _y(top: float, low: int, high: int, milliseconds: float) -> float:
    share = (math.log10(max(milliseconds, 10.0**low)) - low) / (high - low)
    return top + DOWN * (1 - share)


def _method(x: float, y: float, low: int, high: int, method: str, found: Mapping[int, CellResult]) -> Iterator[str]:
    points = [(_x(x, load), _y(y, low, high, cell.p99(method))) for load, cell in found.items() if method in cell.waits]
    if points:
        yield f'<path class="line {method}" d="M{" L".join(f"{a:.1f} {b:.1f}" for a, b in points)}"/>'
        yield from (_mark(method, a, b) for a, b in points)


def _mark(method: str, x: float, y: float) -> str:
    """Return the shape of a method: circle, square, two triangles, diamond."""
    size = 4.5 if method == STEERED else 4.0
    path = {
        SHARED: f"M{x - size:.1f} {y - size:.1f}h{2 * size}v{2 * size}h{-2 * size}z",
        HASH: f"M{x:.1f} {y - size - 1:.1f}l{size + 1} {2 * size}h{-2 * size - 2}z",
        NGINX: f"M{x:.1f} {y + size + 1:.1f}l{size + 1} {-2 * size}h{-2 * size - 2}z",
        HAPROXY: f"M{x:.1f} {y - size - 1:.1f}l{size + 1} {size + 1}l{-size - 1} {size + 1}l{-size - 1} {-size - 1}z",
    }.get(method)
    if path is None:
        return f'<circle class="mark {method}" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    return f'<path class="mark {method}" d="{path}"/>'
