"""The figures of measurements, and the table with their aims. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

HEADINGS = ("what", "figure", "aim", "")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. Less is better in all of them; a figure without an aim explains another."""

    what: str
    value: float
    unit: str = ""
    aim: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.aim is None else self.value <= self.aim

    def cells(self) -> tuple[str, str, str, str]:
        word = {None: "", True: "met", False: "missed"}[self.met]
        return self.what, self._with_unit(self.value), "" if self.aim is None else self._with_unit(self.aim), word

    def to_json(self) -> dict[str, Any]:
        found = asdict(self) | {"met": self.met}
        return found | ({"value": None} if math.isnan(self.value) else {})  # JSON has no NaN

    def _with_unit(self, value: float) -> str:
        return f"{number(value)} {self.unit}".rstrip()


def number(value: float) -> str:
    """Format a number with about three digits, the precision that such measurements have."""
    if math.isnan(value):
        return "-"
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def table(figures: Iterable[Figure]) -> str:
    lines = [HEADINGS, *(figure.cells() for figure in figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = (
        f"{what:<{widths[0]}}  {value:>{widths[1]}}  {aim:>{widths[2]}}  {word}".rstrip()
        for what, value, aim, word in lines
    )
    return "\n".join(text) + "\n"


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios of interleaved pairs, in which a slow machine cancels out."""
    return median(a / b for a, b in zip(numerators, denominators, strict=True))
