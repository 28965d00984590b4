"""Quiet periods: the time between the signal to begin nothing new and the signal to stop.

Both signals and both times are those of the generation that is stopped, whose program must know them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from deployd.errors import StateError, SystemdError
from deployd.model import unit_name
from deployd.model.app import StopSettings
from deployd.model.instance import Instance, State
from deployd.state.drains import DrainRecord, Drains
from deployd.state.history import History
from deployd.systemd import signals
from deployd.systemd.manager import Systemd

log = logging.getLogger(__name__)


class QuietPeriods:
    """The quiet periods of one app's instances, and the records of those that drain."""

    def __init__(self, app: str, systemd: Systemd, history: History, drains: Drains) -> None:
        self._app = app
        self._systemd = systemd
        self._history = history
        self._drains = drains
        self._known: tuple[int, StopSettings | None] = 0, None
        """A generation and its settings, which never change."""
        self._ended: dict[int, tuple[str, asyncio.Event]] = {}
        """Invocation IDs of instances in a quiet period, and what is set when one has ended."""

    def settings(self, generation: int | None) -> StopSettings | None:
        """Return how instances of a generation are stopped, None if that is not known."""
        if generation is None:
            return None
        if generation != self._known[0]:  # nearly all that are stopped are of one generation
            try:
                found = self._history.settings(self._app, generation)
            except StateError as error:
                log.warning("%s: %s", self._app, error)
                return None
            self._known = generation, None if found is None else found.stop
        return self._known[1]

    def begin(self, number: int, generation: int, otherwise: StopSettings) -> None:
        """Record that an instance drains; `otherwise`: the settings if those of its generation are not known. Raises
        StateError."""
        stop, now = self.settings(generation) or otherwise, time.monotonic()
        self._drains.begin(self._app, number, DrainRecord(now, now + stop.longest))

    async def wait(self, instance: Instance, stop: StopSettings) -> None:
        """Ask an instance that is ready to begin nothing new, and wait until it has ended or `quiet_for` is over."""
        if not stop.quiet or instance.state is not State.READY or not await self._ask(instance, stop.quiet):
            return
        ended = asyncio.Event()
        self._ended[instance.number] = instance.invocation_id, ended
        try:
            async with asyncio.timeout(stop.quiet_for):
                await ended.wait()
        except TimeoutError:
            pass
        finally:
            self._ended.pop(instance.number, None)

    def observed(self, of: Callable[[int], Instance]) -> None:
        """End the quiet periods of instances that are not ready any more; `of` returns what systemd says of one."""
        for number, (invocation, ended) in self._ended.items():
            item = of(number)
            if item.state is not State.READY or item.invocation_id != invocation:
                ended.set()

    async def _ask(self, instance: Instance, name: str) -> bool:
        """Send the signal; False if that is not possible, which is logged."""
        if not signals.handles(instance.main_pid, name):
            problem = f"{name} would end or suspend its main process, which does not handle it ([stop] quiet)"
        else:
            try:
                await self._systemd.signal_main(unit_name.instance(self._app, instance.number), name)
            except SystemdError as error:
                problem = str(error)
            else:
                return True
        log.warning("%s: instance %d is stopped without a quiet period: %s", self._app, instance.number, problem)
        return False
