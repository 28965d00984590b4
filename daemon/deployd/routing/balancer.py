"""The weights of a steered app's instances: from the policy to the kernel's table, and kept up to date by a timer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployd.alarm import Alarm
from deployd.errors import SteeringError
from deployd.model.instance import Instance
from deployd.model.steering import Group
from deployd.plan import routing
from deployd.plan.routing import Candidate, Policy
from deployd.reuseport.table import Table
from deployd.routing.listeners import Listeners
from deployd.routing.report import Share
from deployd.routing.statistics import Statistics

log = logging.getLogger(__name__)

TICK = 0.015
"""Seconds between two readings of the queues while two generations serve."""

RETRY = 1.0
"""Seconds until the queues are read again after that failed."""


class Balancer:
    """Distributes the new TCP connections of one app among its instances."""

    def __init__(self, app: str, listeners: Listeners) -> None:
        self._app = app
        self._listeners = listeners
        self._statistics = Statistics()
        self._candidates: Sequence[Candidate] = ()
        self._policy = Policy()
        self._fallback: tuple[int, ...] = ()
        self._queues: dict[int, int] = {}
        self._weights: Mapping[int, float] = {}
        self._in_force: tuple[list[Group], tuple[int, ...]] | None = None
        """The groups and the order that the kernel has."""
        self._alarm = Alarm(self._tick)

    def balance(self, candidates: Sequence[Candidate], policy: Policy, fallback: tuple[int, ...]) -> None:
        """Distribute new connections by `policy` from now on, in the order `fallback` if there are no candidates."""
        self._candidates, self._policy, self._fallback = candidates, policy, fallback
        self._update()

    def weights(self) -> dict[int, float]:
        """Return the weight of each instance, in percent; none before they were computed once."""
        if self._in_force is None:
            return {}
        total = sum(self._weights.values()) or 1.0
        return {number: round(100 * self._weights.get(number, 0.0) / total, 2) for number in self._listeners.numbers()}

    def shares(self, instances: Sequence[Instance], counters: Mapping[int, int]) -> tuple[Share, ...]:
        """Return what each generation is to get of the new connections, and what it has got."""
        return self._statistics.shares({item.number: item.generation for item in instances}, self.weights(), counters)

    def stop(self) -> None:
        """Stop the timer. The kernel keeps the weights that it has."""
        self._alarm.close()

    def _update(self) -> None:
        now = time.monotonic()
        candidates = [replace(item, queue=self._queues.get(item.number, 0)) for item in self._candidates]
        found = routing.shares(candidates, self._policy, now)
        groups = _groups(found.shares, {item.number: item.generation for item in candidates})
        wanted = groups, found.order or self._fallback
        try:
            if wanted != self._in_force:
                self._listeners.distribute(Table.of(*wanted))
                self._in_force = wanted
            serving = frozenset(item.generation for item in candidates if item.generation is not None)
            self._statistics.begin((self._policy.asked, self._policy.prefer, serving), self._listeners.counters)
        except SteeringError as error:
            log.warning("%s: the weights cannot be set: %s", self._app, error)
        self._weights = found.shares
        if not found.queues:
            self._queues.clear()
        self._alarm.clear()
        if found.queues:
            self._alarm.set(TICK)
        elif found.wake_at is not None:
            self._alarm.set(found.wake_at - now)

    def _tick(self) -> None:
        try:
            self._queues = self._listeners.queues()
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
            self._alarm.set(RETRY)
            return
        self._update()


def _groups(shares: Mapping[int, float], generations: Mapping[int, int | None]) -> list[Group]:
    """Return a group of each set of instances that have the same generation and the same share."""
    equal: dict[tuple[int | None, float], list[int]] = {}
    for number, share in sorted(shares.items()):
        if share:
            equal.setdefault((generations[number], share), []).append(number)
    return [
        Group(tuple((number, 0) for number in numbers), share * len(numbers)) for (_, share), numbers in equal.items()
    ]
