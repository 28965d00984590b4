"""The steering table: shares of new connections, dealt out as tickets. Pure.

A connection's number picks a ticket, and the ticket names a slot: the number of an instance and its place in the
kernel's maps. Who has a quarter of the tickets gets a quarter of the connections, exactly so in each run of TICKETS
connections, and nearly so in shorter ones, because neighbouring connections pick tickets that lie far apart.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

TICKETS = 4096
"""A power of two, so that the kernel's counter of connections wraps without a jump."""
SLOTS = 1024
"""Slots are 1 to 1023; 0 is nobody."""
STRIDE = 2531
"""From one connection's ticket to the next one's: TICKETS over the golden ratio, and odd, so that none is left out."""
FALLBACKS = 16


@dataclass(frozen=True, slots=True)
class Table:
    """Which slot each of the TICKETS names, and who stands in if that slot does not listen, first one first."""

    tickets: tuple[int, ...] = (0,) * TICKETS
    order: tuple[int, ...] = ()

    @classmethod
    def of(cls, shares: Mapping[int, float], order: Sequence[int]) -> Table:
        """Tickets by relative shares: to the nearest whole one by largest remainder, at least one for each share > 0.

        Without any share all tickets go to the first of `order`. Of `order` the first FALLBACKS are kept.
        Raises ValueError for an impossible slot or share.
        """
        for slot in (*shares, *order):
            if not 0 < slot < SLOTS:
                raise ValueError(f"slot {slot} is not between 1 and {SLOTS - 1}")
        for slot, share in shares.items():
            if not (math.isfinite(share) and share >= 0):
                raise ValueError(f"the share of slot {slot} is {share}; it must be a number from 0 on")
        kept = tuple(dict.fromkeys(order))[:FALLBACKS]
        counts = _deal({slot: Fraction(share) for slot, share in sorted(shares.items()) if share})
        if not counts:
            counts = {kept[0] if kept else 0: TICKETS}
        return cls(tuple(slot for slot, count in counts.items() for _ in range(count)), kept)


def choose(table: Table, cursor: int, listening: Container[int]) -> int | None:
    """The slot of connection number `cursor`, as the program in the kernel decides; None if the kernel hashes."""
    slot = table.tickets[cursor * STRIDE % TICKETS]
    return next((one for one in (slot, *table.order) if one in listening), None)


def _deal(shares: Mapping[int, Fraction]) -> dict[int, int]:
    """Whole tickets for shares > 0."""
    # Who is due less than a ticket gets one; the others share what is left, which may bring more of them below one.
    tiny: set[int] = set()
    while True:
        total = sum(share for slot, share in shares.items() if slot not in tiny)
        left = TICKETS - len(tiny)
        due = {slot: share * left / total for slot, share in shares.items() if slot not in tiny}
        fell = {slot for slot, part in due.items() if part < 1}
        if not fell:
            break
        tiny |= fell
    counts = {slot: int(due.get(slot, 1)) for slot in shares}
    spare = TICKETS - sum(counts.values())
    for slot in sorted(due, key=lambda slot: (counts[slot] - due[slot], slot))[:spare]:
        counts[slot] += 1
    return counts
