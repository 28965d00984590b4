"""Standby instances and their end: after a time limit, when memory runs short, or when the app is stopped.

The shell around plan/standby.py. Every turn of the control loop calls it. It wakes the loop when the first time limit
is reached and when the kernel reports memory pressure. It stops standby instances only, never one that serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from deployd.alarm import Alarm
from deployd.instances.executor import Executor
from deployd.instances.freezer import Freezer
from deployd.model.action import Stop, Unpin
from deployd.model.app import App, Drain
from deployd.model.clock import Timestamp, iso
from deployd.model.instance import Instance, State
from deployd.plan.standby import Leaving, Resting, leaving, until
from deployd.state.pins import Pins
from deployd.systemd import memory
from deployd.systemd.memory import Pressure

log = logging.getLogger(__name__)

ANSWERING = 0.2
"""Seconds between two checks of the connections that a standby instance still has."""

EVERY = 10.0
"""Seconds between two checks of the memory, where the kernel does not report pressure."""


class Standby:
    """Ends the standby of one app's instances.

    `up` is true while the app unit is up; `wake` has the control loop call :meth:`update`; `connected` is that of the
    app's routing.
    """

    def __init__(
        self,
        app: str,
        pins: Pins,
        freezer: Freezer,
        executor: Executor,
        *,
        up: Callable[[], bool],
        wake: Callable[[], None],
        connected: Callable[[Collection[int]], Mapping[int, int | None]],
        pressure: Callable[[Callable[[], None]], Pressure] = Pressure,
        available: Callable[[], int | None] = memory.available,
    ) -> None:
        self._app = app
        self._pins = pins
        self._freezer = freezer
        self._executor = executor
        self._up = up
        self._wake = wake
        self._connected = connected
        self._pressure = pressure(self._on_pressure)
        self._available = available
        self._short = False
        self._polls = False
        """True if the kernel does not report memory pressure."""
        self._alarm = Alarm(wake)
        self._resting: tuple[Resting, ...] = ()
        self._limit = 0.0

    async def update(
        self,
        seen: Iterable[Instance],
        now: Timestamp,
        settings: App,
        *,
        busy: bool,
        wanted: frozenset[int] = frozenset(),
    ) -> None:
        """Stop standby instances whose time or memory limit is exceeded. Raises StateError, SystemdError.

        `settings` are those of the current generation. While a rollout is planned (`busy`), only memory pressure stops
        instances, and none of a generation in `wanted`: the planner decides on the rest.
        """
        self._alarm.clear()
        short, self._short = self._short, False
        records = self._pins.standby(self._app)
        if not records and not self._resting:
            return
        states = {item.number: item.state for item in seen}
        numbers = frozenset(n for n in records if states.get(n) is State.STANDBY and not self._executor.is_busy(n))
        await self._sweep(records.keys() - numbers, states, settings)
        self._resting = await self._freezer.resting(numbers, now)
        self._limit = settings.pace.standby
        connections = self._connected(numbers)
        problems = await self._freezer.ensure(numbers, connections, now.monotonic, settings)
        if not self._resting:
            self._pressure.close()
            return
        for item in self._going(now, settings, problems, busy=busy, wanted=wanted, short=short):
            log.info("%s: stopping standby instance %d: %s", self._app, item.number, item.reason)
            # Its connections have had their time.
            self._executor.act(Stop(item.number, item.generation, item.reason), replace(settings, drain=Drain()))
        self._watch_pressure()
        self._set_alarm(now, busy=busy, connected=bool(connections))

    def status(self, now: Timestamp) -> dict[str, Any] | None:
        """Return `standby` of `deployd status --json`."""
        if not self._resting:
            return None
        end = until(self._resting, self._limit)
        return {
            "generation": self._resting[0].generation,
            "instances": [item.number for item in self._resting],
            "until": iso(now.wall - now.monotonic + end) if end is not None else None,
        }

    async def stop(self) -> None:
        """Never wake the control loop again; thaw the instances if the machine is going down."""
        self._alarm.close()
        self._pressure.close()
        await self._freezer.release()

    async def _sweep(self, numbers: Iterable[int], states: dict[int, State], settings: App) -> None:
        """Remove the records of standby instances that ended otherwise, as in a reboot.

        systemd 257 may be restarting one, in vain, because it has no pin.
        """
        for number in numbers:
            if self._executor.is_busy(number):
                continue
            state = states.get(number, State.INACTIVE)
            if state is State.INACTIVE:
                self._executor.act(Unpin(number), settings)
            elif state in (State.FAILED, State.STARTING):
                self._executor.act(Stop(number, None, "it ended in standby"), settings)
            elif state is State.STOPPING:
                await self._freezer.wake(number)  # systemctl stop thaws the main process, not its children

    def _going(
        self,
        now: Timestamp,
        settings: App,
        problems: Mapping[int, str],
        *,
        busy: bool,
        wanted: frozenset[int],
        short: bool,
    ) -> tuple[Leaving, ...]:
        if not self._up():
            return tuple(Leaving(item.number, item.generation, "the app was stopped") for item in self._resting)
        resting = [item for item in self._resting if not busy or item.generation not in wanted]
        known = [item for item in resting if item.number in problems]
        found = tuple(Leaving(item.number, item.generation, problems[item.number]) for item in known)
        if busy and not short:
            return found
        resting = [item for item in resting if item.number not in problems]
        limit, available = settings.pace.standby_memory, self._available()
        return found + leaving(resting, self._limit, now.monotonic, available=available, limit=limit, short=short)

    def _watch_pressure(self) -> None:
        if self._polls:
            return
        try:
            self._pressure.open()
        except OSError as error:
            self._polls = True
            reason = error.strerror or error
            log.info(
                "%s: the kernel does not report memory pressure (%s); checking every %g s", self._app, reason, EVERY
            )

    def _on_pressure(self) -> None:
        self._short = True
        self._wake()

    def _set_alarm(self, now: Timestamp, *, busy: bool, connected: bool) -> None:
        if self._polls:
            self._alarm.set(EVERY)
        if connected:
            self._alarm.set(ANSWERING)
        end = until(self._resting, self._limit)
        if end is not None and not busy:
            self._alarm.set(end - now.monotonic)
