"""Many instances on few lines: those that matter, and a sum of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def trimmed(items: Sequence[T], room: int, urgency: Callable[[T], tuple[float, ...]]) -> tuple[list[T], list[T]]:
    """What is shown on `room` lines, in the order given, and the rest, for which a line is kept."""
    if len(items) <= room:
        return list(items), []
    by_urgency = sorted(range(len(items)), key=lambda index: urgency(items[index]))
    kept = set(by_urgency[: max(room - 1, 0)])
    shown = [item for index, item in enumerate(items) if index in kept]
    return shown, [item for index, item in enumerate(items) if index not in kept]


def summed(rest: Iterable[tuple[str, str]]) -> str:
    """``20 ready (generation 8), 3 ready (generation 7)``, from states and generations."""
    counts = Counter(rest)
    return ", ".join(f"{number} {state} (generation {generation})" for (state, generation), number in counts.items())
