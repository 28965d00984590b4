"""Puts single instances in standby and takes them out again: the shell of `Freeze` and `Thaw`.

What says that an instance stands by is the record that takes the place of its pin (state/pins.py), not the state of its
processes: the record is made first, and goes last. So a daemon that is killed in between leaves a process that runs
unneeded, never one that is to serve and sleeps; and signals may be sent again.
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
from deployd.routing import Router
from deployd.state.pins import Pins
from deployd.systemd import memory
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that requests under way get to end before an instance that holds connections is stopped, not frozen."""


def patient(settings: App) -> App:
    """The settings by which an instance is drained that is to be frozen: its last requests are to end, for nobody tells
    it to end them."""
    return replace(settings, drain=Drain(close_after=max(settings.drain.close_after, PATIENCE)))


class Freezer:
    """Freezes and thaws instances of one app. Raises SystemdError and StateError unless noted otherwise."""

    def __init__(self, app: str, systemd: Systemd, pins: Pins, router: Router) -> None:
        self._app = app
        self._systemd = systemd
        self._pins = pins
        self._held: dict[int, int | None] = {}
        self._router = router
        self._frozen: set[int] = set()
        self._roused: set[int] = set()
        self._waking: set[int] = set()
        """Those that are to leave standby, and must not be frozen by whoever looked before that was known."""

    def unit(self, number: int) -> str:
        return unit_name.instance(self._app, number)

    async def freeze(self, action: Freeze, settings: App, left: int | None) -> str:
        """Freeze an instance that was drained, or return why it has to be stopped instead ("" if frozen).

        `left`: the connections that it still has, as Backend.drain() returns them. Their clients would wait in vain; an
        instance that gets a signal to stop finishes their requests.
        """
        if left is None:
            why = "nobody knows whether it still has connections"
        elif left:
            why = f"it still has {left} connections" if left > 1 else "it still has a connection"
        else:
            why = await self._refusal(action.number, settings)
        if not why:
            self._pins.set_aside(self._app, action.number, action.generation, Timestamp.now().monotonic)
            self._waking.discard(action.number)
            try:
                await self._systemd.freeze(self.unit(action.number))
            except SystemdError as error:
                why = str(error)
        if why:
            log.info("%s: instance %d is stopped, for %s", self._app, action.number, why)
            return why
        self._frozen.add(action.number)
        log.info("%s: instance %d of generation %d stands by", self._app, action.number, action.generation)
        return ""

    async def thaw(self, action: Thaw) -> None:
        """Have an instance go on, and give it its pin back."""
        self._leaves(action.number)
        try:
            await self._systemd.thaw(self.unit(action.number))
            self._pins.pin(self._app, action.number, action.generation)
        finally:
            self._waking.discard(action.number)
        log.info("%s: instance %d of generation %d goes on", self._app, action.number, action.generation)

    async def wake(self, number: int) -> None:
        """Before a stop: have its processes go on if it stands by, or its children would sleep through their end."""
        self._leaves(number)
        if number in self._pins.standby(self._app):
            try:
                await self._systemd.thaw(self.unit(number))
            except SystemdError as error:
                log.debug("%s: instance %d: %s, ignoring", self._app, number, error)  # systemd will kill it

    async def release(self) -> None:
        """Before we leave: if the machine goes down, all go on, or systemd would wait for those that sleep."""
        try:
            if not self._pins.standby(self._app) or not await self._systemd.is_stopping():
                return
        except SystemdError as error:
            log.debug("%s: %s, ignoring", self._app, error)
            return
        for number in self._pins.standby(self._app):
            await self.wake(number)

    async def ensure(self, numbers: Collection[int]) -> bool:
        """Freeze what a daemon that was killed had only recorded; once, for somebody may thaw it by hand.

        To whom connections may stray, while the kernel's maps are made anew, or have strayed, goes on until they have
        ended. True if there are such."""
        strayed = self._router.backend.connected(numbers)
        for number in sorted(numbers):
            if number in self._waking or number not in self._pins.standby(self._app):
                continue
            if number in strayed and number not in self._roused:
                self._roused.add(number)
                self._frozen.discard(number)
                log.info("%s: instance %d in standby goes on for connections that stray there", self._app, number)
                await self._systemd.thaw(self.unit(number))
            elif number not in strayed and number not in self._frozen:
                self._frozen.add(number)
                self._roused.discard(number)
                await self._systemd.freeze(self.unit(number))
        return bool(strayed)

    async def resting(self, numbers: frozenset[int], now: Timestamp) -> tuple[Resting, ...]:
        """Those of `numbers` that stand by, with what they hold; it changes no more, so it is read once."""
        found = []
        for number, aside in self._pins.standby(self._app).items():
            if number in numbers:
                if number not in self._held:
                    self._held[number] = await memory.held(self._systemd, self.unit(number))
                since = min(aside.since, now.monotonic)
                found.append(Resting(number, aside.generation, since, self._held[number]))
        return tuple(found)

    def _leaves(self, number: int) -> None:
        self._waking.add(number)
        self._held.pop(number, None)
        self._frozen.discard(number)
        self._roused.discard(number)

    async def _refusal(self, number: int, settings: App) -> str:
        unit = self.unit(number)
        properties = await self._systemd.read(unit, SERVICE, ("WatchdogUSec",))
        others = frozenset(self._pins.standby(self._app)) - {number}
        self._held[number] = await memory.held(self._systemd, unit)
        return refusal(
            self._held[number],
            await self.resting(others, Timestamp.now()),
            available=memory.available(),
            limit=settings.pace.standby_memory,
            watchdog=int(properties["WatchdogUSec"]),
        )
