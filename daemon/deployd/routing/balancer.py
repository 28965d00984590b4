"""The groups of a steered app's instances: from the policy to the kernel's table, and along a warm-up by a timer."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from deployd.alarm import Alarm
from deployd.errors import SteeringError
from deployd.model.instance import Instance
from deployd.model.steering import Group
from deployd.plan import routing
from deployd.plan.routing import Candidate, Distribution, Policy
from deployd.reuseport.table import Table
from deployd.routing.listeners import Listeners
from deployd.routing.report import Share
from deployd.routing.statistics import Statistics

log = logging.getLogger(__name__)


class Balancer:
    """Distributes the new TCP connections of one app among its instances."""

    def __init__(self, app: str, listeners: Listeners) -> None:
        self._app = app
        self._listeners = listeners
        self._statistics = Statistics()
        self._candidates: Sequence[Candidate] = ()
        self._policy = Policy()
        self._fallback: tuple[int, ...] = ()
        self._distribution = Distribution((), ())
        self._in_force: tuple[tuple[Group, ...], tuple[int, ...]] | None = None
        """The groups and the order that the kernel has."""
        self._done = False
        """The last update succeeded; the alarm does what time does to it."""
        self._alarm = Alarm(self._update)

    def balance(self, candidates: Sequence[Candidate], policy: Policy, fallback: tuple[int, ...]) -> None:
        """Distribute new connections by `policy` from now on, in the order `fallback` if there are no candidates."""
        asked = candidates, policy, fallback
        if asked == (self._candidates, self._policy, self._fallback) and self._done:
            return
        self._candidates, self._policy, self._fallback = asked
        self._update()

    def weights(self) -> dict[int, float]:
        """Return the weight of each instance if all are equally busy, in percent; none before they are computed."""
        if self._in_force is None:
            return {}
        weights = self._distribution.weights
        return {number: round(100 * weights.get(number, 0.0), 2) for number in self._listeners.numbers()}

    def shares(self, instances: Sequence[Instance]) -> tuple[Share, ...]:
        """Return what each generation is to get of the new connections, and what it has got."""
        try:
            counters = self._listeners.counters()
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
            counters = {}
        generations = {item.number: item.generation for item in instances if self._listeners.known(item.number)}
        return self._statistics.shares(generations, self._distribution.groups, counters)

    def stop(self) -> None:
        """Stop the timer. The kernel keeps the weights that it has."""
        self._alarm.close()

    def _update(self) -> None:
        now, self._done = time.monotonic(), False
        found = routing.distribution(self._candidates, self._policy, now)
        wanted = found.groups, found.order or self._fallback
        try:
            if wanted != self._in_force:
                self._listeners.distribute(Table.of(*wanted))
                self._in_force = wanted
            serving = frozenset(item.generation for item in self._candidates if item.generation is not None)
            self._statistics.begin((self._policy.asked, self._policy.prefer, serving), self._listeners.counters)
            self._done = True
        except SteeringError as error:
            log.warning("%s: the weights cannot be set: %s", self._app, error)
        self._distribution = found
        self._alarm.clear()
        if found.wake_at is not None:
            self._alarm.set(found.wake_at - now)
