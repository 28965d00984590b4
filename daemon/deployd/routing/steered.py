"""Steered routing: a listener for each instance, and the kernel deals new connections out by shares.

The shares follow from the policy (plan/routing.py) whenever the app changes and, while two generations serve or an
instance warms up, every few milliseconds. Nothing here is needed for connections to be accepted: a daemon that dies
leaves the last shares in the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from deployd.errors import DeploydError, SteeringError
from deployd.model.app import App
from deployd.model.instance import Instance, State
from deployd.model.rollout import Rollout
from deployd.plan import routing
from deployd.plan.routing import Candidate
from deployd.reuseport.table import Table
from deployd.routing.backend import Backend
from deployd.routing.interface import Report, View
from deployd.routing.kernel import Kernel
from deployd.routing.listeners import Listeners
from deployd.routing.statistics import Statistics
from deployd.systemd.manager import Systemd

log = logging.getLogger(__name__)

TICK = 0.015
"""Seconds between looks at the queues while two generations serve."""

GLANCE = 0.01
"""Seconds between looks at an instance that is being drained: nobody tells that a queue is empty."""

LONGEST_GLANCE = 0.5
"""The same for connections that take their time to end, some of them hours."""

RETRY = 1.0
"""Seconds until a socket that could not be mended is tried again."""

HANDSHAKES = 3.0
"""Seconds that half-open handshakes may take. Then they are those of clients that are gone, and if not: what is left
when a listener closes goes to the others (BPF_SK_REUSEPORT_SELECT_OR_MIGRATE)."""


class Steered(Backend):
    """Of one app. `changed` is called when a look is worth it though no unit changed."""

    def __init__(self, app: str, systemd: Systemd, kernel: Kernel, *, changed: Callable[[], None]) -> None:
        self._app = app
        self._changed = changed
        self._listening = Listeners(app, systemd, kernel)
        self._tally = Statistics()
        self._view: View | None = None
        self._leaving: set[int] = set()
        self._queues: dict[int, int] = {}
        self._shares: Mapping[int, float] = {}
        self._dealt: tuple[Mapping[int, float], tuple[int, ...]] | None = None
        """Shares and order that the kernel has."""
        self._timer: asyncio.TimerHandle | None = None
        self._mending: dict[int, asyncio.Task[None]] = {}

    async def update(self, view: View) -> None:
        self._view = view
        try:
            self._listening.paths.want(view.settings, keep=view.rollout is not None)
            await self._listening.find(view.instances)
            self._weigh()
            synced = self._listening.sync()
        except SteeringError as error:
            # What was dealt out last goes on; a rollout waits for nothing here.
            log.warning("%s: %s; trying again", self._app, error)
            self._look_again(RETRY)
            return
        if not synced:
            self._look_again(GLANCE)
            self._look_again(HANDSHAKES)  # until then the kernel deals by hash, and who was dealt to is looked after
        for number in self._listening.lost - self._leaving:
            self._mend(number, view.settings)
        if self._candidates():
            await self._listening.sweep(view.instances)
            await self._pass_on(view)

    def follow(self, rollout: Rollout) -> None:
        if self._view is not None:
            self._view = replace(self._view, rollout=rollout)
            self._weigh()

    async def open(self, number: int) -> None:
        self._leaving.discard(number)
        await self._listening.open(number)

    async def drain(self, number: int, settings: App) -> int | None:
        self._leaving.add(number)
        if not self._listening.known(number):
            return None
        self._weigh()
        if not self._candidates():
            return None  # there is nobody else to go to: they wait for the next one
        try:
            await self._emptied(number, settings.stop.timeout)
            left = await self._ended(number, settings.drain.close_after)
            if self._listening.alone(number, [item.number for item in self._candidates()]):
                # An address that ends with it: what still comes there is accepted or refused, and not left waiting.
                await self._listening.end(number)
            return left
        except SteeringError as error:
            log.warning("%s: instance %d is stopped undrained: %s", self._app, number, error)
            return None

    def undrain(self, number: int) -> None:
        self._leaving.discard(number)

    async def close(self, number: int) -> None:
        # With nobody else to serve, what waits there waits for whoever is started next.
        if self._candidates():
            await self._listening.close(number)
            self._leaving.discard(number)

    def connected(self, numbers: Collection[int]) -> Collection[int]:
        if not self._listening.synced:
            return numbers  # the kernel may be dealing by hash
        try:
            return {number for number, count in self._listening.connections(numbers).items() if count}
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
            return ()

    def report(self) -> Report:
        known = self._listening.numbers()
        try:
            counters = self._listening.counters()
            connections, queues = self._listening.connections(known), self._listening.queues()
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
            counters, connections, queues = {}, {}, {}
        if reason := self._listening.reason:
            unsteered = f"deployd cannot change which instances get new connections: {reason}"
            return Report("none", unsteered, connections=connections, queues=queues)
        total = sum(self._shares.values()) or 1.0
        weights = {number: round(100 * self._shares.get(number, 0.0) / total, 2) for number in known}
        generations = {item.number: item.generation for item in self._view.instances} if self._view else {}
        return Report(
            "ebpf",
            weights=weights,
            connections=connections,
            queues=queues,
            shares=self._tally.shares(generations, weights, counters),
        )

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._mending.values():
            task.cancel()
        self._listening.stop()

    async def _emptied(self, number: int, limit: float) -> None:
        """Until nothing can be queued there any more: no connection waits, and no handshake that had begun goes on."""
        if self._listening.paths:
            await asyncio.sleep(GLANCE)  # who looked an address up just before it moved on may be about to connect
        begun, now = self._listening.half_open(), time.monotonic()
        handshakes, end = now + min(HANDSHAKES, limit), now + limit
        # Who has died serves nobody; it moves to the others when the socket is closed.
        while now < end and self._listening.accepts(number):
            begun &= self._listening.half_open() if begun else begun
            if not self._listening.queues().get(number) and (not begun or now > handshakes):
                return
            await asyncio.sleep(GLANCE)
            now = time.monotonic()

    async def _ended(self, number: int, limit: float) -> int:
        """The connections it still has after `limit` seconds, or as soon as it has none."""
        now = time.monotonic()
        end, pause = now + limit, GLANCE
        while True:
            left = self._listening.connections([number]).get(number, 0)
            if not left or now >= end:
                return left
            await asyncio.sleep(min(pause, max(0.0, end - now)))
            now, pause = time.monotonic(), min(2 * pause, LONGEST_GLANCE)

    async def _pass_on(self, view: View) -> None:
        """What waits for instances that are down, from before their share was taken away, goes to those that serve. A
        UNIX socket's queue does not move, and waits for its instance."""
        down = [item.number for item in view.instances if item.state in (State.FAILED, State.INACTIVE)]
        down = [number for number in down if self._listening.known(number) and number not in self._leaving]
        if not down or self._listening.paths:
            return
        try:
            queues = self._listening.queues()
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
            return
        for number in down:
            if queues.get(number):
                await self._listening.pass_on(number)

    def _mend(self, number: int, settings: App) -> None:
        """Give an instance that has lost its socket a new one; it is drained first, if others serve."""
        if number not in self._mending:
            task = asyncio.ensure_future(self._remake(number, settings))
            self._mending[number] = task
            task.add_done_callback(lambda _: self._mending.pop(number, None))

    async def _remake(self, number: int, settings: App) -> None:
        try:
            await self.drain(number, settings)
            await self._listening.remake(number)
        except Exception as error:
            known = isinstance(error, DeploydError)
            log.warning("%s: instance %d: %s", self._app, number, error, exc_info=None if known else error)
            await asyncio.sleep(RETRY)  # the next look tries again
        finally:
            self._leaving.discard(number)
            self._changed()

    def _candidates(self) -> list[Candidate]:
        if self._view is None:
            return []
        view = self._view
        return [
            Candidate(
                item.number, view.generation(item), item.started, item.ready_since, self._queues.get(item.number, 0)
            )
            for item in view.instances
            if item.state is State.READY and self._listening.known(item.number)
            if item.number not in self._leaving | view.waiting | self._listening.lost
        ]

    def _weigh(self) -> None:
        """Ask the policy, and tell the kernel if it is news."""
        if self._view is None:
            return
        now, candidates = time.monotonic(), self._candidates()
        serving = Counter(item.generation for item in candidates if item.generation is not None)
        policy = self._view.policy(serving)
        found = routing.shares(candidates, policy, now)
        order = found.order or self._standing_in(self._view.instances)
        try:
            if (found.shares, order) != self._dealt:
                self._listening.deal(Table.of(found.shares, order))
                self._dealt = found.shares, order
            self._tally.begin((policy.asked, policy.prefer, frozenset(serving)), self._listening.counters)
        except SteeringError as error:
            log.warning("%s: shares cannot be set: %s", self._app, error)
        self._shares = found.shares
        if not found.queues:
            self._queues.clear()
        self._again(TICK if found.queues else None if found.wake_at is None else max(0.0, found.wake_at - now))

    def _standing_in(self, instances: tuple[Instance, ...]) -> tuple[int, ...]:
        """With nobody ready: who may be so soon gets what comes, and it waits in that queue."""
        rank = {State.READY: 0, State.STARTING: 1, State.FAILED: 2}
        there = [item for item in instances if item.state in rank and self._listening.known(item.number)]
        there.sort(key=lambda item: (rank[item.state], item.number in self._leaving, -(item.generation or 0)))
        rest = sorted(self._listening.numbers() - {item.number for item in there})
        return (*(item.number for item in there), *rest)

    def _look_again(self, delay: float) -> None:
        asyncio.get_running_loop().call_later(delay, self._changed)

    def _again(self, delay: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._again(RETRY)  # unless what follows says when
        try:
            self._queues = self._listening.queues()
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
        self._weigh()
