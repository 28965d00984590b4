"""The steering table: weights as a number of entries for each instance. Pure.

The number of a connection selects an entry, and the entry names an instance by its number, which is also its
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
INSTANCES = 1024
"""Numbers of instances are 1 to 1023; 0 means none."""
STRIDE = 2531
"""Distance between the entries of two successive connections: ENTRIES divided by the golden ratio, and odd, so that no
entry is left out."""
FALLBACKS = 16
"""Length of the order that is kept."""


@dataclass(frozen=True, slots=True)
class Table:
    """The instance of each entry, and the order in which other instances are tried if that one does not listen."""

    entries: tuple[int, ...] = (0,) * ENTRIES
    order: tuple[int, ...] = ()

    @classmethod
    def of(cls, weights: Mapping[int, float], order: Sequence[int]) -> Table:
        """Return the table for relative weights: entries by largest remainder, at least one for each weight > 0.

        Without weights all entries name the first of `order`. Of `order` the first FALLBACKS are kept. Raises
        ValueError for an impossible instance or weight."""
        for instance in (*weights, *order):
            if not 0 < instance < INSTANCES:
                raise ValueError(f"instance {instance} is not between 1 and {INSTANCES - 1}")
        for instance, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of instance {instance} is {weight}; it must be a finite number from 0 on")
        kept = tuple(dict.fromkeys(order))[:FALLBACKS]
        counts = _apportioned({instance: Fraction(weight) for instance, weight in sorted(weights.items()) if weight})
        if not counts:
            counts = {kept[0] if kept else 0: ENTRIES}
        return cls(tuple(instance for instance, count in counts.items() for _ in range(count)), kept)


def choose(table: Table, cursor: int, listening: Container[int]) -> int | None:
    """Return the instance of connection number `cursor`, as the program in the kernel does, or None if the kernel
    hashes."""
    instance = table.entries[cursor * STRIDE % ENTRIES]
    return next((one for one in (instance, *table.order) if one in listening), None)


def _apportioned(weights: Mapping[int, Fraction]) -> dict[int, int]:
    """Return the number of entries for each weight > 0."""
    # An instance that is due less than an entry gets one. The others share the rest, which may bring more of them below
    # one.
    tiny: set[int] = set()
    while True:
        total = sum(weight for instance, weight in weights.items() if instance not in tiny)
        left = ENTRIES - len(tiny)
        due = {instance: weight * left / total for instance, weight in weights.items() if instance not in tiny}
        fell = {instance for instance, part in due.items() if part < 1}
        if not fell:
            break
        tiny |= fell
    counts = {instance: int(due.get(instance, 1)) for instance in weights}
    spare = ENTRIES - sum(counts.values())
    for instance in sorted(due, key=lambda instance: (counts[instance] - due[instance], instance))[:spare]:
        counts[instance] += 1
    return counts
