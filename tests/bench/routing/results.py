"""The figures of all runs, which can be stored and merged. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.bench.routing.traffic import LOADS, METHODS, SERVERS, STEERED, TRAFFICS, cells

ALL = cells(list(TRAFFICS), list(LOADS), list(SERVERS))
AIM = 1.2
"""The p99 of steered against the best of the others."""


@dataclass(frozen=True, slots=True)
class Place:
    """The names of a cell."""

    traffic: str
    load: int
    server: str

    @property
    def order(self) -> tuple[int, int, int]:
        """The place in tables and pictures, whatever was measured first."""
        names = list(TRAFFICS), list(SERVERS)
        return names[0].index(self.traffic), names[1].index(self.server), LOADS.index(self.load)


@dataclass(slots=True)
class CellResult:
    """The p99 of the time that requests waited beyond their service time, in milliseconds: by method, one per run."""

    waits: dict[str, list[float]] = field(default_factory=dict)
    failed: int = 0
    """Requests that failed or were never answered, with any method."""

    def p99(self, method: str) -> float:
        return median(self.waits[method])

    @property
    def best(self) -> str | None:
        """The best of the other methods: the one with the lowest median, not the luckiest of each run."""
        others = [method for method in self.waits if method != STEERED]
        return min(others, key=self.p99) if others and STEERED in self.waits else None

    @property
    def ratios(self) -> list[float]:
        """Steered against the best of the others, run by run, because each run gives the same traffic to all.

        Of medians if one of them was measured more often.
        """
        if (best := self.best) is None:
            return []
        own, others = self.waits[STEERED], self.waits[best]
        if len(own) != len(others):
            return [median(own) / median(others)]
        return [a / b for a, b in zip(own, others, strict=True)]

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None else self.ratio <= AIM


@dataclass(slots=True)
class Single:
    """A figure outside of the cells, one value per run. `least`: the aim is the least that is wanted, not the most."""

    unit: str = ""
    aim: float | None = None
    least: bool = False
    values: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The median, or the sum of what must never happen: one failed request among many runs counts."""
        return sum(self.values) if self.aim == 0 else median(self.values)

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.value >= self.aim if self.least else self.value <= self.aim


@dataclass(slots=True)
class Results:
    machine: dict[str, Any] = field(default_factory=dict)
    cells: dict[Place, CellResult] = field(default_factory=dict)
    singles: dict[str, Single] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all cells were measured with all methods."""
        places = [Place(cell.traffic.name, cell.load, cell.server.name) for cell in ALL]
        return all(place in self.cells and {*METHODS} <= {*self.cells[place].waits} for place in places)

    def ordered(self) -> list[tuple[Place, CellResult]]:
        return sorted(self.cells.items(), key=lambda item: item[0].order)

    def wait(self, place: Place, method: str, milliseconds: float, failed: int) -> None:
        """Add one measurement of a cell."""
        cell = self.cells.setdefault(place, CellResult())
        cell.waits.setdefault(method, []).append(milliseconds)
        cell.failed += failed

    def add(
        self, what: str, value: float, unit: str = "", aim: float | None = None, *, at_least: float | None = None
    ) -> None:
        """Add one value of a single figure."""
        least = at_least is not None
        self.singles.setdefault(what, Single(unit, at_least if least else aim, least)).values.append(value)

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "cells": [
                {
                    "traffic": place.traffic,
                    "load": place.load,
                    "server": place.server,
                    "wait_p99_ms": cell.waits,
                    "failed": cell.failed,
                    "best_other": cell.best,
                    "ratio": cell.ratio,
                    "met": cell.met,
                }
                for place, cell in self.ordered()
            ],
            "singles": [
                {
                    "what": what,
                    "unit": single.unit,
                    "aim": single.aim,
                    "least": single.least,
                    "values": single.values,
                    "met": single.met,
                }
                for what, single in self.singles.items()
            ],
        }

    @classmethod
    def merged(cls, documents: Iterable[dict[str, Any]]) -> Results:
        """Return the results of several runs, as `to_json` returned them."""
        found = cls()
        for document in documents:
            found.machine = found.machine or document["machine"]
            for item in document["cells"]:
                cell = found.cells.setdefault(Place(item["traffic"], item["load"], item["server"]), CellResult())
                cell.failed += item["failed"]
                for method, waits in item["wait_p99_ms"].items():
                    cell.waits.setdefault(method, []).extend(waits)
            for item in document["singles"]:
                single = found.singles.setdefault(item["what"], Single(item["unit"], item["aim"], item["least"]))
                single.values += item["values"]
        return found


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return the lowest and the highest value of several."""
    return f"{min(values):{form}}..{max(values):{form}}" if len(values) > 1 else ""
