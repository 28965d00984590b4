"""The steering table: weights as a number of entries for each group of instances. Pure.

The number of a connection selects an entry, the entry names a group, and of its members the least loaded one gets the
connection. A group with a quarter of the entries gets a quarter of the connections: exactly in each run of ENTRIES
connections, and nearly in shorter runs, because successive connections select entries that are far apart. The number of
an instance is also its place in the kernel's maps.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from deployd.model.steering import RANKS, Group
from deployd.reuseport.slots import Slot

ENTRIES = 4096
"""A power of two, so that the kernel's counter of connections wraps without a jump."""
INSTANCES = 1024
"""Numbers of instances are 1 to 1023; 0 means none."""
STRIDE = 2531
"""Distance between the entries of two successive connections: ENTRIES divided by the golden ratio, and odd, so that no
entry is left out."""
FALLBACKS = 16
"""Length of the order that is kept."""
GROUPS = 64
MEMBERS = 64
"""How many members of a group the program in the kernel compares at most."""
FEW = 16
"""How many the program compares if no group has more: it is loaded in a quarter of the time."""

Member = tuple[int, int]
"""Number and rank of an instance."""


@dataclass(frozen=True, slots=True)
class Table:
    """The group of each entry, the members of each group, and the order in which other instances are tried if no
    member listens."""

    entries: tuple[int, ...] = (0,) * ENTRIES
    groups: tuple[tuple[Member, ...], ...] = ()
    order: tuple[int, ...] = ()

    @property
    def members(self) -> int:
        """Return how many members the program has to compare: FEW or MEMBERS."""
        return MEMBERS if any(len(group) > FEW for group in self.groups) else FEW

    @classmethod
    def of(cls, groups: Sequence[Group], order: Sequence[int]) -> Table:
        """Return the table for groups with relative weights: entries by largest remainder, at least one for each
        weight > 0.

        An instance may be in several groups. A group of more than MEMBERS is divided into several, and its weight by
        members. Of more than GROUPS, those whose members have similar weights are joined. Without weights all entries
        name a group of the first of `order`. Of `order` the first FALLBACKS are kept. Raises ValueError for an
        impossible instance, rank or weight.
        """
        for group in groups:
            _check(group)
        kept = tuple(dict.fromkeys(order))[:FALLBACKS]
        for instance in kept:
            _check_instance(instance)
        weighted = _divided([group for group in groups if group.weight and group.members])
        counts = _apportioned([weight for _, weight in weighted])
        if not counts:
            return cls(groups=(((kept[0], 0),),) if kept else (), order=kept)
        entries = tuple(place for place, count in enumerate(counts) for _ in range(count))
        return cls(entries, tuple(members for members, _ in weighted), kept)


def choose(
    table: Table,
    cursor: int,
    listening: Container[int],
    slots: Mapping[int, Slot],
    now: int,
    *,
    least_busy: bool = True,
) -> int | None:
    """Return the instance of connection number `cursor`, as the program in the kernel does, or None if the kernel
    hashes. `now`: nanoseconds of CLOCK_MONOTONIC."""
    place = table.entries[cursor * STRIDE % ENTRIES]
    members = table.groups[place] if place < len(table.groups) else ()
    keys = [
        slots.get(number, Slot()).key(number, rank, now, least_busy=least_busy)
        for number, rank in members
        if number in listening
    ]
    if keys:
        return min(keys) % INSTANCES
    return next((one for one in table.order if one in listening), None)


def _check(group: Group) -> None:
    for instance, rank in group.members:
        _check_instance(instance)
        if not 0 <= rank < RANKS:
            raise ValueError(f"the rank of instance {instance} is {rank}; it must be from 0 to {RANKS - 1}")
    if not (math.isfinite(group.weight) and group.weight >= 0):
        raise ValueError(f"the weight of a group is {group.weight}; it must be a finite number from 0 on")


def _check_instance(instance: int) -> None:
    if not 0 < instance < INSTANCES:
        raise ValueError(f"instance {instance} is not between 1 and {INSTANCES - 1}")


def _divided(groups: Sequence[Group]) -> list[tuple[tuple[Member, ...], Fraction]]:
    """Return at most GROUPS groups of at most MEMBERS with their weights."""
    found: list[tuple[tuple[Member, ...], Fraction]] = []
    for group in groups:
        parts = -(-len(group.members) // MEMBERS)
        # Each part gets members of all ranks.
        ordered = sorted(group.members, key=lambda member: (member[1], member[0]))
        for part in (tuple(ordered[first::parts]) for first in range(parts)):
            found.append((part, Fraction(group.weight) * len(part) / len(ordered)))
    if len(found) <= GROUPS:
        return found
    each: dict[Member, Fraction] = {}
    for members, weight in found:
        for member in members:
            each[member] = each.get(member, Fraction()) + weight / len(members)
    similar = sorted(each, key=lambda member: (each[member], member))
    size = -(-len(similar) // GROUPS)
    joined = (tuple(similar[first : first + size]) for first in range(0, len(similar), size))
    return [(members, sum((each[member] for member in members), Fraction())) for members in joined]


def _apportioned(weights: Sequence[Fraction]) -> list[int]:
    """Return the number of entries for each weight > 0."""
    # A group that is due less than an entry gets one. The others share the rest, which may bring more of them below
    # one.
    tiny: set[int] = set()
    while True:
        total = sum(weight for place, weight in enumerate(weights) if place not in tiny)
        left = ENTRIES - len(tiny)
        due = {place: weight * left / total for place, weight in enumerate(weights) if place not in tiny}
        fell = {place for place, part in due.items() if part < 1}
        if not fell:
            break
        tiny |= fell
    counts = [int(due.get(place, 1)) for place in range(len(weights))]
    spare = ENTRIES - sum(counts)
    for place in sorted(due, key=lambda place: (counts[place] - due[place], place))[:spare]:
        counts[place] += 1
    return counts
