"""A loop that runs its step whenever it is woken, and continues whatever exception the step raises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from deployd.alarm import Alarm

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until a step is repeated that raised what it should have dealt with."""


class ControlLoop:
    """`step` is awaited at the start and after every :meth:`wake`; many wake-ups while it runs are one."""

    def __init__(self, step: Callable[[], Awaitable[None]]) -> None:
        self._step = step
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._alarm = Alarm(self.wake)

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """End it; a step under way is cancelled."""
        self._alarm.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        self._wake.set()

    def wake_after(self, delay: float) -> None:
        """Wake the loop in `delay` seconds at the latest."""
        self._alarm.set(delay)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._step()
            except Exception:
                log.exception("a step of a control loop failed; trying again")
                self.wake_after(RETRY)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                log.warning("what a step of a control loop waited for was cancelled; trying again")
                self.wake_after(RETRY)
            await self._wake.wait()
