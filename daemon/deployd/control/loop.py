"""A loop that runs its step whenever it is woken, and whatever the step raises goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


class Loop:
    """`step` is awaited at the start and after every :meth:`wake`; many wake-ups while it runs are one."""

    def __init__(self, step: Callable[[], Awaitable[None]]) -> None:
        self._step = step
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """End it; a step under way is cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        self._wake.set()

    def wake_after(self, delay: float) -> None:
        """Wake it in `delay` seconds, in place of any such wish before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self.wake)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._step()
            await self._wake.wait()
