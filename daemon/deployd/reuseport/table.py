"""The steering table: weights as a number of entries for each instance. Pure.

The number of a connection selects an entry, and the entry names a slot: the number of an instance, which is also its
place in the kernel's maps. An instance with a quarter of the entries gets a quarter of the connections: exactly in each
run of ENTRIES connections, and nearly in shorter runs, because successive connections select entries that are far
apart.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

ENTRIES = 4096
"""A power of two, so that the kernel's counter of connections wraps without a jump."""
SLOTS = 1024
"""Slots are 1 to 1023; 0 means none."""
STRIDE = 2531
"""Distance between the entries of two successive connections: ENTRIES divided by the golden ratio, and odd, so that no
entry is left out."""
FALLBACKS = 16
"""Length of the order that is kept."""


@dataclass(frozen=True, slots=True)
class Table:
    """The slot of each entry, and the order in which other slots are tried if that one does not listen."""

    entries: tuple[int, ...] = (0,) * ENTRIES
    order: tuple[int, ...] = ()

    @classmethod
    def of(cls, weights: Mapping[int, float], order: Sequence[int]) -> Table:
        """Return the table for relative weights: entries by largest remainder, at least one for each weight > 0.

        Without weights all entries name the first of `order`. Of `order` the first FALLBACKS are kept. Raises
        ValueError for an impossible slot or weight."""
        for slot in (*weights, *order):
            if not 0 < slot < SLOTS:
                raise ValueError(f"slot {slot} is not between 1 and {SLOTS - 1}")
        for slot, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of slot {slot} is {weight}; it must be a finite number from 0 on")
        kept = tuple(dict.fromkeys(order))[:FALLBACKS]
        counts = _apportioned({slot: Fraction(weight) for slot, weight in sorted(weights.items()) if weight})
        if not counts:
            counts = {kept[0] if kept else 0: ENTRIES}
        return cls(tuple(slot for slot, count in counts.items() for _ in range(count)), kept)


def choose(table: Table, cursor: int, listening: Container[int]) -> int | None:
    """Return the slot of connection number `cursor`, as the program in the kernel does, or None if the kernel
    hashes."""
    slot = table.entries[cursor * STRIDE % ENTRIES]
    return next((one for one in (slot, *table.order) if one in listening), None)


def _apportioned(weights: Mapping[int, Fraction]) -> dict[int, int]:
    """Return the number of entries for each weight > 0."""
    # A slot that is due less than an entry gets one. The others share the rest, which may bring more of them below one.
    tiny: set[int] = set()
    while True:
        total = sum(weight for slot, weight in weights.items() if slot not in tiny)
        left = ENTRIES - len(tiny)
        due = {slot: weight * left / total for slot, weight in weights.items() if slot not in tiny}
        fell = {slot for slot, part in due.items() if part < 1}
        if not fell:
            break
        tiny |= fell
    counts = {slot: int(due.get(slot, 1)) for slot in weights}
    spare = ENTRIES - sum(counts.values())
    for slot in sorted(due, key=lambda slot: (counts[slot] - due[slot], slot))[:spare]:
        counts[slot] += 1
    return counts
