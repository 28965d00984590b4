"""Notices instances that hang, during a rollout and the watch after it (plan/hang.py)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from deployd.alarm import Alarm
from deployd.errors import SteeringError
from deployd.model.hang import Hang
from deployd.model.instance import Instance, State
from deployd.model.instances import Instances
from deployd.model.steering import Load
from deployd.plan import hang

log = logging.getLogger(__name__)

SHORTEST = 0.05
"""Seconds between two looks, at least: the kernel counts in ticks."""


class Sockets(Protocol):
    """What the kernel knows of the connections of instances. Methods raise SteeringError."""

    def loads(self) -> Mapping[int, Load]:
        """Return what the kernel counts of each instance; nothing if it does not count."""

    def unread(self, numbers: Collection[int]) -> Mapping[int, Collection[float]]:
        """Return for each of `numbers` the connections on which data waits to be read: how long ago the last of it
        arrived, in seconds."""


class Watchdog:
    """The watchdog of one app. `changed` is called when an instance begins to hang or ends it."""

    def __init__(
        self,
        app: str,
        sockets: Callable[[], Sockets],
        *,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._sockets = sockets
        self._changed = changed
        self._clock = clock
        self.results: Mapping[int, tuple[str, Hang]] = {}
        """Instances that hang, with the invocation that does. Replaced when one changes."""
        self._limit = 0.0
        self._generation: int | None = None
        self._instances = Instances.of(())
        self._alarm = Alarm(self._look)

    def update(self, limit: float, generation: int | None, instances: Iterable[Instance] = ()) -> None:
        """Watch the `instances` of a generation from now on, and no others: one hangs that answers nothing for `limit`
        seconds. Of None or with 0, none does. Called in each turn of the loop, so it does not look at each instance:
        the next look does, and is early enough for those that have become ready since the last one."""
        self._instances = Instances.of(instances)
        if (limit, generation) == (self._limit, self._generation):
            return
        self._limit, self._generation = limit, generation
        if self.results:
            self.results = {}
        self._alarm.clear()
        if limit and generation is not None:
            self._alarm.set(0.0)

    def stop(self) -> None:
        self._alarm.close()

    def _look(self) -> None:
        limit, watched = self._limit, self._watched()
        ready = {number: item.ready_since for number, item in watched.items()}
        try:
            sockets = self._sockets()
            loads, now = sockets.loads(), self._clock()
            late = hang.suspects(loads, ready, limit, now)
            unread = sockets.unread(late) if late else {}
        except SteeringError as error:
            log.debug("%s: it is unknown whether instances hang: %s", self._app, error)
            self._alarm.set(limit)
            return
        found = {
            number: (watched[number].invocation_id, hanging)
            for number, hanging in hang.hanging(loads, ready, unread, limit, now).items()
        }
        self._alarm.set(max(SHORTEST, hang.next_look(loads, ready, unread, limit, now) - now))
        if found != self.results:
            self.results = found
            self._changed()

    def _watched(self) -> dict[int, Instance]:
        known = self._instances
        group: Mapping[int, Instance] = known.settled.get(self._generation, {}) if self._generation is not None else {}
        others = (item for item in known.others if item.generation == self._generation and item.state is State.READY)
        return {item.number: item for item in (*group.values(), *others)}


def overlaid(item: Instance, known: tuple[str, Hang] | None) -> Instance:
    """Return the instance with what is known of its present invocation."""
    if known is None or item.state is not State.READY or known[0] != item.invocation_id:
        return item
    return replace(item, hang=known[1])
