"""A timer that calls one function: the earliest time that was asked for wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def until_next(period: float, now: float) -> float:
    """Return the seconds until the next multiple of `period`, more than 0 unless `period` is 0.

    What is repeated at such times wakes an idle daemon once, however many apps and timers there are.
    """
    return period - now % period if period else 0.0


class Alarm:
    """Calls `ring` once at the earliest time set, and then waits to be set again."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def set(self, delay: float) -> None:
        """Ring in `delay` seconds, or at the time already set if that is earlier."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, delay)
        if self._closed or (self._timer is not None and self._timer.when() <= when):
            return
        self.clear()
        self._timer = loop.call_at(when, self._fire)

    def clear(self) -> None:
        """Cancel the time that is set, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Cancel, and ignore all later calls of :meth:`set`."""
        self._closed = True
        self.clear()

    def _fire(self) -> None:
        self._timer = None
        self._ring()
