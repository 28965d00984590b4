"""Puts single instances in standby and takes them out again: the shell of `Freeze` and `Thaw`.

An instance is in standby if it has the record that replaces its pin (state/pins.py), whatever its processes do. The
record is made before the freeze and removed after the thaw. So a daemon that is killed in between leaves an
unneeded process running, never a frozen one that should serve; and the signals may be sent again. An instance that
still has connections runs on in standby until they have ended, so no rollout waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.action import Freeze, Thaw
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.plan.idle_connections import Ending
from deployd.plan.standby import Resting, connected, patience, refusal
from deployd.state.pins import Pins
from deployd.systemd import memory
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE

log = logging.getLogger(__name__)

NOTICE = 2.0
"""Seconds that a server gets to notice that its connections were closed."""


class Freezer:
    """Freezes and thaws instances of one app. Raises SystemdError and StateError unless noted otherwise."""

    def __init__(self, app: str, systemd: Systemd, pins: Pins, close_idle: Callable[[int], Awaitable[Ending]]) -> None:
        """`close_idle` is that of the app's routing."""
        self._app = app
        self._systemd = systemd
        self._pins = pins
        self._close_idle = close_idle
        self._memory: dict[int, int | None] = {}
        """Bytes that each standby instance occupies, None if unknown."""
        self._frozen: set[int] = set()
        self._ends: dict[int, float] = {}
        """When the connections of those that still run must have ended (CLOCK_MONOTONIC seconds)."""
        self._closed: set[int] = set()
        """Those among them whose connections were closed."""
        self._waking: set[int] = set()
        """Instances that leave standby; :meth:`ensure` may have been called with them before that, and skips them."""
        self._thawed: dict[int, set[int]] = {}
        """Those among them that are thawed and not pinned yet, by generation."""

    def unit(self, number: int) -> str:
        return unit_name.instance(self._app, number)

    async def freeze(self, action: Freeze, settings: App, connections: int | None) -> str:
        """Put an instance that gets no new connections in standby, or return why it has to be stopped instead ("" if it
        is in standby).

        `connections`: how many it still has, as Backend.drain() returns them. With any it runs on, until
        :meth:`ensure` freezes it.
        """
        number, now = action.number, Timestamp.now().monotonic
        reason = "the number of its connections is unknown" if connections is None else ""
        reason = reason or await self._refusal(number, settings)
        if not reason:
            self._pins.set_aside(self._app, number, action.generation, now)
            self._waking.discard(number)
            if connections:
                self._ends[number] = now + patience(settings.drain.close_after)
            else:
                reason = await self._freeze(number)
        if reason:
            log.info("%s: instance %d is stopped instead of frozen: %s", self._app, number, reason)
            return reason
        log.info("%s: instance %d of generation %d is in standby", self._app, number, action.generation)
        return ""

    async def thaw(self, action: Thaw) -> None:
        """Thaw an instance and restore its pin."""
        self._leave(action.number)
        thawed = self._thawed.setdefault(action.generation, set())
        try:
            await self._systemd.thaw(self.unit(action.number))
            thawed.add(action.number)
            await asyncio.sleep(0)  # those whose thaw ends with this one are pinned with it, with one wait for the disk
            if action.number in thawed:
                self._pins.pin_all(self._app, sorted(thawed), action.generation)
                thawed.clear()
        finally:
            thawed.discard(action.number)
            self._waking.discard(action.number)
        log.info("%s: instance %d of generation %d left standby", self._app, action.number, action.generation)

    async def wake(self, number: int) -> None:
        """Thaw an instance that is about to be stopped; frozen children could not handle SIGTERM. Raises StateError."""
        self._leave(number)
        if number in self._pins.standby(self._app):
            try:
                await self._systemd.thaw(self.unit(number))
            except SystemdError as error:
                log.debug("%s: instance %d: %s, ignoring", self._app, number, error)  # systemd will kill it

    async def release(self) -> None:
        """Thaw all standby instances if the machine is going down: systemd would wait for frozen ones."""
        try:
            if not self._pins.standby(self._app) or not await self._systemd.is_stopping():
                return
        except SystemdError as error:
            log.debug("%s: %s, ignoring", self._app, error)
            return
        for number in self._pins.standby(self._app):
            await self.wake(number)

    async def ensure(
        self, numbers: Collection[int], connections: Mapping[int, int | None], now: float, settings: App
    ) -> dict[int, str]:
        """Freeze those of these instances that have no connections, and return which have to stop, and why.

        Each is frozen once, because an administrator may thaw it. `connections` are as Backend.connected() returns
        them. Those that have any run until they have ended: they were drained just now, a killed daemon only recorded
        them, or the kernel sends connections there while its maps are rebuilt. Idle ones are closed in the end.
        """
        problems = {}
        for number in sorted(numbers):
            if number in self._waking or number not in self._pins.standby(self._app):
                continue
            if number not in connections:
                if number not in self._frozen and (reason := await self._freeze(number)):
                    problems[number] = reason
                continue
            if number not in self._ends:
                self._ends[number] = now + patience(settings.drain.close_after)
                self._frozen.discard(number)
                log.info("%s: thawing standby instance %d for its connections", self._app, number)
                await self._systemd.thaw(self.unit(number))
            count = connections[number]
            if count is not None and now >= self._ends[number] and not await self._can_end(number, now):
                problems[number] = connected(count)
        return problems

    async def _can_end(self, number: int, now: float) -> bool:
        """Close the connections of an instance whose time is over; False if they are in use, or do not end."""
        found = Ending.IN_USE if number in self._closed else await self._close_idle(number)
        if found is Ending.CLOSE:
            self._closed.add(number)
            self._ends[number] = now + NOTICE
            log.info("%s: closing the idle connections of standby instance %d", self._app, number)
        return found is not Ending.IN_USE

    async def resting(self, numbers: frozenset[int], now: Timestamp) -> tuple[Resting, ...]:
        """Return those of `numbers` that are in standby, with their memory, which does not change once they are
        frozen."""
        found = []
        for number, aside in self._pins.standby(self._app).items():
            if number in numbers:
                if number not in self._memory or number not in self._frozen:
                    self._memory[number] = await memory.held(self._systemd, self.unit(number))
                since = min(aside.since, now.monotonic)
                found.append(Resting(number, aside.generation, since, self._memory[number]))
        return tuple(found)

    async def _freeze(self, number: int) -> str:
        """Stop the processes of an instance, or return why they cannot be stopped."""
        self._ends.pop(number, None)
        self._closed.discard(number)
        self._frozen.add(number)
        try:
            await self._systemd.freeze(self.unit(number))
        except SystemdError as error:
            self._frozen.discard(number)
            return str(error)
        return ""

    def _leave(self, number: int) -> None:
        self._waking.add(number)
        self._memory.pop(number, None)
        self._frozen.discard(number)
        self._ends.pop(number, None)
        self._closed.discard(number)

    async def _refusal(self, number: int, settings: App) -> str:
        unit = self.unit(number)
        properties = await self._systemd.read(unit, SERVICE, ("WatchdogUSec",))
        others = frozenset(self._pins.standby(self._app)) - {number}
        self._memory[number] = await memory.held(self._systemd, unit)
        return refusal(
            self._memory[number],
            await self.resting(others, Timestamp.now()),
            available=memory.available(),
            limit=settings.pace.standby_memory,
            watchdog=int(properties["WatchdogUSec"]),
        )
