"""A simulation of instances that get each request by a rule, for which no kernel is needed.

Requests arrive at random times, each on a connection of its own; an instance whose slots are all taken has them wait.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from deployd.reuseport import slots
from deployd.reuseport.slots import Slot
from tests.bench.routing.traffic import Cell

MS = 1_000_000


@dataclass
class Server:
    """One instance. It counts as the filter in the kernel does (`deployd.reuseport.counting`)."""

    number: int
    free: int
    slot: Slot = field(default_factory=Slot)
    waiting: deque[tuple[int, int]] = field(default_factory=deque)

    def take(self, now: int) -> None:
        busy = self.slot.in_flight
        self.slot = replace(
            self.slot,
            in_flight=busy + 1,
            open=busy + 1,
            chosen_at=now,
            progress=self.slot.progress if busy else now,
        )

    def answer(self, now: int) -> None:
        busy = self.slot.in_flight - 1
        self.slot = replace(answered(self.slot, now), in_flight=busy, open=busy)


def answered(slot: Slot, now: int) -> Slot:
    """Return the slot after an answer, with the times that the filter learns from it."""
    since, typical = now - slot.progress, slot.typical
    if not typical:
        typical = since
    else:
        step = (typical >> (1 if since > typical << slots.FAR_BITS else 3)) + 1000
        typical = typical + step if since > typical else max(0, typical - step)
    longest = max(since, slot.longest - (slot.longest >> slots.FADE_BITS))
    return replace(slot, typical=typical, progress=now, longest=longest)


Rule = Callable[[Sequence[Server], int], Server]


def steered(servers: Sequence[Server], now: int) -> Server:
    """Choose as the program in the kernel does."""
    return min(servers, key=lambda item: item.slot.key(item.number, 0, now))


def fewest(servers: Sequence[Server], _: int) -> Server:
    """Choose as a proxy with the rule "least connections": the fewest in flight, then the one chosen longest ago."""
    return min(servers, key=lambda item: (item.slot.in_flight, item.slot.chosen_at, item.number))


def arrivals(cell: Cell, requests: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield the arrivals of requests and the time that each takes, in nanoseconds."""
    chance, now = random.Random(seed), 0.0
    for _ in range(requests):
        now += chance.expovariate(cell.rate / 1e9)
        costly = chance.random() < cell.traffic.share
        yield int(now), int((cell.traffic.costly if costly else cell.traffic.cheap) * cell.server.stretch * MS)


def waits(cell: Cell, rule: Rule, requests: int, seed: int, hung: int | None = None) -> tuple[list[int], list[int]]:
    """Return how long each request waited until an instance served it, in nanoseconds, and how many the instances got.

    The instance `hung` answers nothing; what waits there is left out.
    """
    servers = [Server(number, cell.server.slots) for number in range(cell.server.instances)]
    ends: list[tuple[int, int]] = []
    found, chosen = [], [0] * len(servers)

    def serve(server: Server, now: int, came: int, takes: int) -> None:
        server.free -= 1
        found.append(now - came)
        heapq.heappush(ends, (now + takes, server.number))

    def end_until(now: int) -> None:
        while ends and ends[0][0] <= now:
            at, number = heapq.heappop(ends)
            server = servers[number]
            server.free += 1
            server.answer(at)
            if server.waiting:
                serve(server, at, *server.waiting.popleft())

    for now, takes in arrivals(cell, requests, seed):
        end_until(now)
        server = rule(servers, now)
        server.take(now)
        chosen[server.number] += 1
        if server.number == hung:
            continue
        if server.free:
            serve(server, now, now, takes)
        else:
            server.waiting.append((now, takes))
    end_until(1 << 62)
    return found, chosen
