"""Restarts instances of a steered app that have lost their sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from deployd.errors import DeploydError
from deployd.model.app import App
from deployd.plan.reopening import LONGEST

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until the next attempt after the first one that failed."""


class Mending:
    """For one app, one instance at a time. `restart` drains and restarts one with open sockets; `ended` is called after
    each attempt."""

    def __init__(
        self, app: str, restart: Callable[[int, App], Awaitable[None]], *, ended: Callable[[int], None]
    ) -> None:
        self._app = app
        self._restart = restart
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._failures: dict[int, tuple[int, str]] = {}
        """Instances whose sockets could not be opened again: how often, and why the last time."""

    def reason(self, number: int) -> str:
        """Return why an instance runs without an open socket of its own."""
        return self._failures.get(number, (0, "its socket was closed, and it is about to be restarted"))[1]

    def update(self, lost: Collection[int], waiting: Collection[int], settings: App) -> None:
        """Restart one of the instances that are `waiting` for it, among all that have `lost` their sockets; the one
        that has failed least often comes first."""
        self._failures = {number: known for number, known in self._failures.items() if number in lost}
        if waiting and self._task is None:
            number = min(waiting, key=lambda number: (self._failures.get(number, (0,))[0], number))
            log.warning("%s: the sockets of instance %d were closed while it ran; restarting it", self._app, number)
            self._task = asyncio.ensure_future(self._attempt(number, settings))

    def stop(self) -> None:
        """Cancel the attempt under way."""
        if self._task is not None:
            self._task.cancel()

    async def _attempt(self, number: int, settings: App) -> None:
        try:
            await self._restart(number, settings)
            self._failures.pop(number, None)
        except Exception as error:
            known = isinstance(error, DeploydError | TimeoutError)
            log.warning("%s: instance %d: %s", self._app, number, error, exc_info=None if known else error)
            failures = min(self._failures.get(number, (0,))[0] + 1, 10)
            self._failures[number] = failures, str(error)
            self._ended(number)
            await asyncio.sleep(min(LONGEST, RETRY * 2.0 ** (failures - 1)))
        finally:
            self._task = None
            self._ended(number)
