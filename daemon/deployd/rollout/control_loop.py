"""A loop that runs its step whenever it is woken, and survives every exception that the step raises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from deployd.alarm import Alarm

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until the next step after an error, unless something wakes the loop earlier."""


class ControlLoop:
    """Awaits a step at the start and after every :meth:`wake`; many wake-ups during a step lead to one more step."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._alarm = Alarm(self.wake)
        self._task: asyncio.Task[None] | None = None
        self._failed: Callable[[Exception], None] | None = None

    def start(self, step: Callable[[], Awaitable[None]], failed: Callable[[Exception], None]) -> None:
        """Start the loop. `failed` is called with each exception of a step, and of a job that a step has begun."""
        self._failed = failed
        self._task = asyncio.ensure_future(self._run(step))

    async def stop(self) -> None:
        """Stop the loop, and cancel a step under way."""
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

    def fail(self, error: Exception) -> None:
        """Report an error of a step or of a job that a step has begun, and retry."""
        self.wake_after(RETRY)
        try:
            if self._failed is None:
                raise error
            self._failed(error)
        except Exception:
            log.exception("a step of a control loop failed; trying again")

    async def _run(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            self._wake.clear()
            try:
                await step()
            except Exception as error:
                self.fail(error)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                log.warning("what a step of a control loop waited for was cancelled; trying again")
                self.wake_after(RETRY)
            await self._wake.wait()
