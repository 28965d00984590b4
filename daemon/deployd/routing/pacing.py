"""Closes the connections of one instance at a time, and watches how their clients come back.

The shell around plan/pacing.py. Nothing is read unless an instance with many connections is about to lose them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from deployd.errors import SteeringError
from deployd.plan import pacing
from deployd.plan.pacing import Reading, Wave
from deployd.routing.listeners import Listeners

log = logging.getLogger(__name__)

STEP = 0.1
"""Seconds between two readings during a wave."""

SAMPLE = 0.25
"""Seconds over which the usual rate of new connections is measured at least."""

FRESH = 60.0
"""Seconds for which the usual rate counts after a wave, during which it cannot be measured."""


class Pacing:
    """Paces the waves of one app. `changed` is called when one begins and when it is over."""

    def __init__(self, app: str, listeners: Listeners, changed: Callable[[], None]) -> None:
        self._app = app
        self._listeners = listeners
        self._changed = changed
        self._turn = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._before: Reading | None = None
        """A reading from before the first wave."""
        self._usual = 0.0
        self._measured = 0.0
        """Until when the usual rate counts (CLOCK_MONOTONIC seconds)."""
        self._recent: tuple[float, int] = (0.0, 0)
        """When connections were closed last without a wave, and how many."""

    @property
    def under_way(self) -> bool:
        """True during a wave."""
        return self._watching is not None and not self._watching.done()

    def note(self) -> None:
        """Take a reading, because an instance is about to be drained. Raises SteeringError."""
        if not self.under_way and (self._before is None or self._before.at < time.monotonic() - FRESH):
            self._before = self._read(())

    async def turn(self, number: int, connections: int, settle: Callable[[], float]) -> None:
        """Wait until so many connections of an instance may be closed.

        `settle` is asked for the seconds that one wave may last, 0 for no pacing: a rollback may begin meanwhile.
        """
        if not settle() or not connections or not self._listeners.synced:
            return
        async with self._turn:
            if self._watching is not None:
                await asyncio.wait({self._watching})
            try:
                if settle() and connections > pacing.FEW and time.monotonic() > self._measured:
                    self.note()
                    await asyncio.sleep(SAMPLE if self._before is None else self._before.at + SAMPLE - time.monotonic())
                self.begin(number, connections, settle())
            except SteeringError as error:
                log.debug("%s: the connections of instance %d are not paced: %s", self._app, number, error)

    def begin(self, number: int, connections: int, settle: float) -> None:
        """Watch how the clients of an instance come back. Raises SteeringError."""
        now = time.monotonic()
        last, size = self._recent
        wave = Wave(connections + (size if now < last + pacing.BRIEF else 0), 0.0)
        self._recent = now, wave.size
        if not settle or not pacing.is_wave(wave):
            return
        reading = self._read((number,))
        if now > self._measured:
            self._usual = pacing.rate(self._before, reading) if self._before is not None else 0.0
        wave = Wave(wave.size, self._usual)
        if not pacing.is_wave(wave):
            return
        self._recent, self._before = (0.0, 0), None
        self._watching = asyncio.ensure_future(self._watch(number, wave, reading, settle))
        self._changed()

    def stop(self) -> None:
        """End a watch under way, because the daemon ends or a rollback has begun."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self, number: int, wave: Wave, first: Reading, settle: float) -> None:
        readings, end = [first], first.at + settle
        try:
            while readings[-1].at < end and not pacing.absorbed(wave, readings):
                await asyncio.sleep(min(STEP, max(0.0, end - readings[-1].at)))
                readings.append(self._read((number,)))
        except SteeringError as error:
            log.debug("%s: a wave of connections is not watched: %s", self._app, error)
        finally:
            self._watching, self._measured = None, time.monotonic() + FRESH
        came = pacing.arrived(first, readings[-1])
        text = "%s: %d connections of instance %d were closed, %d have come since (%.1f s)"
        log.info(text, self._app, wave.size, number, came, readings[-1].at - first.at)
        self._changed()

    def _read(self, leaving: tuple[int, ...]) -> Reading:
        listeners = self._listeners
        left = sum(listeners.connections(leaving).values()) if leaving else 0
        queued = sum(length for number, length in listeners.queues().items() if number not in leaving)
        return Reading(time.monotonic(), listeners.counters(), queued, left)
