"""Much on few lines: the important part, and how much of the rest there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from deployd_cli.text.words import ELLIPSIS, count, cut

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
    """Return ``… 9 more: 4 ready (generation 8); 3 ready, 2 stopped (generation 7)``, from states and generations."""
    states: dict[str, Counter[str]] = {}
    for state, generation in rest:
        states.setdefault(generation, Counter())[state] += 1
    number = sum(sum(counts.values()) for counts in states.values())
    return f"{ELLIPSIS} {number} more: " + "; ".join(
        f"{', '.join(f'{each} {state}' for state, each in counts.items())} (generation {generation})"
        for generation, counts in states.items()
    )


def within(lines: Sequence[str], height: int | None, width: int | None) -> list[str]:
    """Return at most `height` lines; the last one says how many are left out."""
    if height is None or len(lines) <= height:
        return list(lines)
    left = f"  {ELLIPSIS} {count(len(lines) - height + 1, 'more line')}"
    return [*lines[: height - 1], left if width is None else cut(left, width)] if height > 0 else []
