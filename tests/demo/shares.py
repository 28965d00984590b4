"""The shares of generations in steps of time, computed from samples. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Sample(NamedTuple):
    """One response."""

    at: float  # in seconds, on any clock
    generation: int


class Moment(NamedTuple):
    """An event to mark."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Series:
    """A generation in a plot. A bad one has a colour of its own."""

    generation: int
    label: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Shares:
    """The number of responses of each generation in every step from `start` on, each `step` seconds long."""

    start: float
    step: float
    counts: tuple[Mapping[int, int], ...]

    @classmethod
    def of(cls, samples: Iterable[Sample], start: float, end: float, steps: int) -> Shares:
        """Count the samples from `start` to `end` in equal steps; ignore others."""
        if not start < end or steps < 1:
            raise ValueError(f"{steps} steps from {start} to {end} are an empty range")
        counts: list[Counter[int]] = [Counter() for _ in range(steps)]
        for sample in samples:
            if start <= sample.at < end:
                counts[min(int((sample.at - start) / (end - start) * steps), steps - 1)][sample.generation] += 1
        return cls(start, (end - start) / steps, tuple(counts))

    @property
    def end(self) -> float:
        return self.start + self.step * len(self.counts)

    def of_step(self, step: int) -> dict[int, float]:
        """Return the shares (0 to 1) of the generations in one step, oldest first; {} without responses."""
        counts = self.counts[step]
        total = sum(counts.values())
        return {generation: counts[generation] / total for generation in sorted(counts)} if total else {}

    def stacked(self, step: int, generations: Sequence[int]) -> list[float]:
        """Return the upper ends of the shares of `generations` stacked in that order, 0 to 1; [] without responses."""
        shares = self.of_step(step)
        if not shares:
            return []
        tops, top = [], 0.0
        for generation in generations:
            top += shares.get(generation, 0.0)
            tops.append(top)
        return tops


def rows(shares: Mapping[int, float], height: int) -> dict[int, int]:
    """Divide `height` rows among generations by largest remainder.

    Each generation with a share gets at least one row, so that small shares are visible.
    """
    present = {generation: share for generation, share in shares.items() if share > 0}
    if not present:
        return {}
    exact = {generation: share * height for generation, share in present.items()}
    given = {generation: max(1, math.floor(amount)) for generation, amount in exact.items()}
    while sum(given.values()) < height:
        given[max(given, key=lambda one: (exact[one] - given[one], one))] += 1
    while sum(given.values()) > height and max(given.values()) > 1:
        given[max(given, key=lambda one: (given[one] > 1, given[one] - exact[one], given[one]))] -= 1
    return given


def nice_step(span: float, most: int) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, 50 … (or 0.1, 0.2 …) that divides `span` into at most `most` parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most + 1e-9)


def ticks(span: float, most: int) -> list[float]:
    """Return about `most` round numbers from 0 to `span`."""
    step = nice_step(span, most)
    return [round(number * step, 9) for number in range(math.floor(span / step + 1e-9) + 1)]
