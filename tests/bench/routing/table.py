"""The text that `make bench ONLY=routing` prints, at most 80 columns wide. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.figure import number
from tests.bench.routing.results import AIM, CellResult, Place, Results, Single, spread
from tests.bench.routing.traffic import METHODS, SERVERS, TRAFFICS

WORDS = {None: "", True: "met", False: "missed"}


def table(results: Results) -> str:
    """Return the cells, the names in them, and the other figures."""
    lines = [*_cells(results), *_singles(results)]
    if results.machine:
        lines += ["", ", ".join(f"{key} {value}" for key, value in results.machine.items())]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _cells(results: Results) -> Iterator[str]:
    cells = results.ordered()
    if not cells:
        return
    runs = max(len(waits) for _, cell in cells for waits in cell.waits.values())
    yield f"Wait beyond the service time, p99 in ms, median of {runs} {'run' if runs == 1 else 'runs'};"
    yield f"ratio: steered against the best of the others, at most {AIM:g}"
    yield ""
    yield _row("", "%", "", [*METHODS], "ratio", "spread", "")
    for place, cell in cells:
        yield _line(place, cell)
    yield ""
    verdicts = [cell.met for _, cell in cells if cell.met is not None]
    failed = sum(cell.failed for _, cell in cells)
    yield f"{verdicts.count(True)} of {len(verdicts)} cells met, {failed} requests failed"
    words = {name: item.words for name, item in TRAFFICS.items()} | {name: item.words for name, item in SERVERS.items()}
    for name in dict.fromkeys([place.traffic for place, _ in cells] + [place.server for place, _ in cells]):
        yield f"  {name}: {words[name]}"


def _line(place: Place, cell: CellResult) -> str:
    waits = [number(cell.p99(method)) if method in cell.waits else "" for method in METHODS]
    ratio = "" if cell.ratio is None else number(cell.ratio)
    return _row(place.traffic, str(place.load), place.server, waits, ratio, spread(cell.ratios, ".1f"), WORDS[cell.met])


def _row(traffic: str, load: str, server: str, waits: list[str], ratio: str, between: str, verdict: str) -> str:
    columns = "".join(f"{wait:>8}" for wait in waits)
    return f"{traffic:<6} {load:>3} {server:<7}{columns}{ratio:>6} {between:>8} {verdict:<6}".rstrip()


def _singles(results: Results) -> Iterator[str]:
    if results.singles:
        yield ""
    for what, single in results.singles.items():
        yield f"{what:<50} {_value(single):>8} {spread(single.values, '.3g'):>10} {WORDS[single.met]:<6}"
        if single.aim is not None:
            word = "at least" if single.least else "at most"
            yield f"{f'  {word} {single.aim:g} {single.unit}'.rstrip()}"


def _value(single: Single) -> str:
    return f"{number(single.value)} {single.unit}".rstrip()
