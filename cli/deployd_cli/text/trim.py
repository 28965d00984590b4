"""Many instances on few lines: the important ones, and a summary of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def trimmed(items: Sequence[T], room: int, urgency: Callable[[T], tuple[float, ...]]) -> tuple[list[T], list[T]]:
    """Return the items to show on `room` lines, in their order, and the rest, for which one line is reserved."""
    if len(items) <= room:
        return list(items), []
    by_urgency = sorted(range(len(items)), key=lambda index: urgency(items[index]))
    kept = set(by_urgency[: max(room - 1, 0)])
    shown = [item for index, item in enumerate(items) if index in kept]
    return shown, [item for index, item in enumerate(items) if index not in kept]


def summed(rest: Iterable[tuple[str, str]]) -> str:
    """Return ``20 ready (generation 8), 3 ready (generation 7)``, from states and generations."""
    counts = Counter(rest)
    return ", ".join(f"{number} {state} (generation {generation})" for (state, generation), number in counts.items())
