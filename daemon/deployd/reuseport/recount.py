"""Puts counts right that have drifted. Pure.

A connection that ends without a further segment leaves its entry: the client has vanished, or the kernel has reset it
because an instance was killed with unread data. Such entries are those of which the kernel reports no socket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from deployd.reuseport.slots import Slot


@dataclass(frozen=True, slots=True)
class Entry:
    """A counted connection."""

    instance: int
    in_flight: bool


class Recount:
    """What the slots should contain by the entries, of which those in `stale` have been removed."""

    def __init__(self, entries: Mapping[int, Entry], stale: Collection[int]) -> None:
        """`entries`: by cookie."""
        left = [entry for cookie, entry in entries.items() if cookie not in stale]
        gone = [entries[cookie] for cookie in stale]
        self._open = Counter(entry.instance for entry in left)
        self._in_flight = Counter(entry.instance for entry in left if entry.in_flight)
        self._closed = Counter(entry.instance for entry in gone)
        self._unanswered = Counter(entry.instance for entry in gone if entry.in_flight)

    def agrees(self, instance: int, slot: Slot) -> bool:
        """True if nothing was removed, and the slot is as it should be."""
        same = (slot.open, slot.in_flight) == (self._open[instance], self._in_flight[instance])
        return same and not self._closed[instance]

    def corrected(self, instance: int, before: Slot, now: Slot) -> Slot:
        """Return what the slot of an instance should contain. `before`: its value before the entries were read."""
        if before == now:
            return replace(now, open=self._open[instance], in_flight=self._in_flight[instance])
        # The kernel has counted meanwhile, so only what was removed is certain.
        return replace(
            now,
            open=now.open - self._closed[instance],
            in_flight=now.in_flight - self._unanswered[instance],
        )


def suspects(entries: Mapping[int, Entry], live: Collection[int]) -> Iterator[int]:
    """Yield the entries of which the kernel reports no socket. `live`: cookies that were read after the entries."""
    return (cookie for cookie in entries if cookie not in live)
