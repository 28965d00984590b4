"""Puts single instances in standby and takes them out again: the shell of `Freeze` and `Thaw`.

An instance is in standby if it has the record that replaces its pin (state/pins.py), whatever its processes do. The
record is made before the freeze and removed after the thaw. So a daemon that is killed in between leaves an
unneeded process running, never a frozen one that should serve; and the signals may be sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.action import Freeze, Thaw
from deployd.model.app import App, Drain
from deployd.model.clock import Timestamp
from deployd.plan.standby import Resting, refusal
from deployd.state.pins import Pins
from deployd.systemd import memory
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that requests in flight get to finish. An instance that has connections after that is stopped, not frozen."""


def patient(settings: App) -> App:
    """Return drain settings of at least PATIENCE: a frozen process gets no SIGTERM, so requests in flight must finish
    first."""
    return replace(settings, drain=Drain(close_after=max(settings.drain.close_after, PATIENCE)))


class Freezer:
    """Freezes and thaws instances of one app. Raises SystemdError and StateError unless noted otherwise."""

    def __init__(self, app: str, systemd: Systemd, pins: Pins) -> None:
        self._app = app
        self._systemd = systemd
        self._pins = pins
        self._memory: dict[int, int | None] = {}
        """Bytes that each standby instance occupies, None if unknown."""
        self._frozen: set[int] = set()
        self._thawed_for_strays: set[int] = set()
        self._waking: set[int] = set()
        """Instances that leave standby; :meth:`ensure` may have been called with them before that, and skips them."""

    def unit(self, number: int) -> str:
        return unit_name.instance(self._app, number)

    async def freeze(self, action: Freeze, settings: App, connections: int | None) -> str:
        """Freeze a drained instance, or return why it has to be stopped instead ("" if frozen).

        `connections`: how many it still has, as Backend.drain() returns them. Their clients would wait for ever, while
        an instance that gets SIGTERM finishes their requests.
        """
        if connections is None:
            reason = "the number of its connections is unknown"
        elif connections:
            reason = f"it still has {connections} connection{'s' if connections > 1 else ''}"
        else:
            reason = await self._refusal(action.number, settings)
        if not reason:
            self._pins.set_aside(self._app, action.number, action.generation, Timestamp.now().monotonic)
            self._waking.discard(action.number)
            try:
                await self._systemd.freeze(self.unit(action.number))
            except SystemdError as error:
                reason = str(error)
        if reason:
            log.info("%s: instance %d is stopped instead of frozen: %s", self._app, action.number, reason)
            return reason
        self._frozen.add(action.number)
        log.info("%s: instance %d of generation %d is in standby", self._app, action.number, action.generation)
        return ""

    async def thaw(self, action: Thaw) -> None:
        """Thaw an instance and restore its pin."""
        self._leave(action.number)
        try:
            await self._systemd.thaw(self.unit(action.number))
            self._pins.pin(self._app, action.number, action.generation)
        finally:
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

    async def ensure(self, numbers: Collection[int], connected: Collection[int]) -> bool:
        """Freeze instances that a killed daemon only recorded; once, because an administrator may thaw them.

        Those that are `connected` run until their connections have ended: the kernel may send connections there while
        its maps are rebuilt. True if there are any.
        """
        for number in sorted(numbers):
            if number in self._waking or number not in self._pins.standby(self._app):
                continue
            if number in connected and number not in self._thawed_for_strays:
                self._thawed_for_strays.add(number)
                self._frozen.discard(number)
                log.info("%s: thawing standby instance %d for stray connections", self._app, number)
                await self._systemd.thaw(self.unit(number))
            elif number not in connected and number not in self._frozen:
                self._frozen.add(number)
                self._thawed_for_strays.discard(number)
                await self._systemd.freeze(self.unit(number))
        return bool(connected)

    async def resting(self, numbers: frozenset[int], now: Timestamp) -> tuple[Resting, ...]:
        """Return those of `numbers` that are in standby, with their memory, which is read once: it does not change."""
        found = []
        for number, aside in self._pins.standby(self._app).items():
            if number in numbers:
                if number not in self._memory:
                    self._memory[number] = await memory.held(self._systemd, self.unit(number))
                since = min(aside.since, now.monotonic)
                found.append(Resting(number, aside.generation, since, self._memory[number]))
        return tuple(found)

    def _leave(self, number: int) -> None:
        self._waking.add(number)
        self._memory.pop(number, None)
        self._frozen.discard(number)
        self._thawed_for_strays.discard(number)

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
