"""What the kernel counts of each instance, laid out as in the map SLOTS, and which one is the least loaded. Pure.

Times are nanoseconds of CLOCK_MONOTONIC. The programs count without locks, so a count may be off by a little, and less
than 0 for a moment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from deployd.model.steering import HUNG_AFTER, HUNG_TYPICAL, Load

SECOND = 1_000_000_000
PATIENCE = 5_000_000
"""An instance with something in flight is late if it has not answered for this time and twice its typical time."""
FAR_BITS = 2
"""A time between two answers is far above the typical one, or above the longest one, if it is more than four times as
long: a number of bits."""
LATE = 2
"""How many requests in flight being late counts for. More makes those wait longer that queue at the other instances,
for an instance with a costly request may have a free thread, and is soon done if it has none. With less, hung instances
get more (tests/reuseport/test_waiting.py)."""
MILLISECOND = 20
"""An instance that is late counts for one more with each of these in which it is silent for far longer than ever: about
a millisecond, as a number of bits by which nanoseconds are shifted."""
FADE_BITS = 7
"""The longest time between two answers becomes shorter by a 128th with each answer: a number of bits."""
PENDING_FOR = 250_000_000
"""Pending connections are forgotten if no further one has come for this time: their clients may have sent a SYN
only."""
HUNG = int(HUNG_AFTER * SECOND)
TICK = 14
"""The age of the last choice is compared in units of 16 us: a number of bits by which nanoseconds are shifted."""

LOAD_BITS, RANK_BITS, OPEN_BITS, AGE_BITS, NUMBER_BITS = 12, 6, 13, 20, 10
"""Parts of the key, from the most to the least significant. With two more bits at the top, for instances that do not
listen and for hung ones, it has 63, so that keys can be subtracted from each other."""
WORST = (1 << 63) - (1 << NUMBER_BITS)
"""A key that no instance has, with the number 0."""

_SLOT = struct.Struct("=qqQqQQQQQ")
SIZE = _SLOT.size
IN_FLIGHT, OPEN, PROGRESS, PENDING, CHOSEN_AT, CHOSEN, TYPICAL, COUNTED, LONGEST = range(0, SIZE, 8)


@dataclass(frozen=True, slots=True)
class Slot:
    """A value of SLOTS. `Load` says what each number means."""

    in_flight: int = 0
    open: int = 0
    progress: int = 0
    pending: int = 0
    chosen_at: int = 0
    chosen: int = 0
    typical: int = 0
    counted: int = 0
    """1 if the instance's listeners have the filter that counts."""
    longest: int = 0
    """The longest of the times of which `typical` is the median, as far as it has not faded."""

    @classmethod
    def parse(cls, value: bytes) -> Slot:
        return cls(*_SLOT.unpack(value))

    @property
    def value(self) -> bytes:
        return _SLOT.pack(
            self.in_flight,
            self.open,
            self.progress,
            self.pending,
            self.chosen_at,
            self.chosen,
            self.typical,
            self.counted,
            self.longest,
        )

    def load(self, now: int) -> Load:
        return Load(
            in_flight=max(0, self.in_flight),
            open=max(0, self.open),
            pending=self._pending(now),
            progress=self.progress / SECOND,
            typical=self.typical / SECOND,
            chosen_at=self.chosen_at / SECOND,
            chosen=self.chosen,
        )

    def key(self, number: int, rank: int, now: int, *, least_busy: bool = True) -> int:
        """Return the number by which the kernel compares instances that listen: the smallest one is chosen."""
        age = max(0, (now >> TICK) - (self.chosen_at >> TICK))
        found = max(0, (1 << AGE_BITS) - 1 - age) << NUMBER_BITS | number
        if not least_busy:
            return found
        hung, busy = self._busy(now)
        connections = min(max(0, self.open), (1 << OPEN_BITS) - 1)
        found |= connections << NUMBER_BITS + AGE_BITS
        found |= rank << NUMBER_BITS + AGE_BITS + OPEN_BITS
        found |= min(busy, (1 << LOAD_BITS) - 1) << NUMBER_BITS + AGE_BITS + OPEN_BITS + RANK_BITS
        return found | hung << NUMBER_BITS + AGE_BITS + OPEN_BITS + RANK_BITS + LOAD_BITS

    def _busy(self, now: int) -> tuple[bool, int]:
        """Return whether the instance is hung, and how busy it is, in requests."""
        busy = max(0, self.in_flight)
        silent = now - self.progress
        hung = bool(busy) and silent > HUNG + HUNG_TYPICAL * self.typical
        if busy and silent >= PATIENCE + 2 * self.typical:
            busy += LATE + (max(0, silent - PATIENCE - (self.longest << FAR_BITS)) >> MILLISECOND)
        return hung, busy + self._pending(now)

    def _pending(self, now: int) -> int:
        return max(0, self.pending) if self.chosen_at + PENDING_FOR >= now else 0
