"""Jobs of systemd whose end is awaited, also if the signal of that end is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from deployd.errors import SystemdError

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""The result of a job if the signal of its end was lost."""

FIRST_CHECK, LONGEST_INTERVAL = 5.0, 60.0
"""Seconds without a signal after which a job is checked, and the longest time between two checks; it doubles."""


@dataclass(slots=True)
class _Waiting:
    """The futures of one job: systemd answers a request for a job that is queued already with that job."""

    futures: list[asyncio.Future[str]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    def end(self, result: str) -> None:
        if self.timer is not None:
            self.timer.cancel()
        for future in self.futures:
            if not future.done():
                future.set_result(result)


class Jobs:
    """The awaited jobs, by object path.

    `job_of` returns the path of a unit's job now. `read_again` reads a unit: if the end of its job was missed, a change
    of its state may have been missed too. A job is checked after `first_check` seconds.
    """

    def __init__(
        self,
        job_of: Callable[[str], Awaitable[str]],
        read_again: Callable[[str], Awaitable[None]],
        first_check: float = FIRST_CHECK,
    ) -> None:
        self._job_of, self._read_again, self._first_check = job_of, read_again, first_check
        self._waiting: dict[str, _Waiting] = {}
        self._ended: dict[str, str] = {}
        self._listeners = 0
        self._checks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Remember the jobs that end in this context, whose reply may name a job that has ended already."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._ended.clear()

    def end(self, path: str, unit: str) -> asyncio.Future[str]:
        """Return the future result of a job of `unit`. To be called while `listening`."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if path in self._ended:
            future.set_result(self._ended[path])
            return future
        waiting = self._waiting.setdefault(path, _Waiting())
        waiting.futures.append(future)
        if waiting.timer is None:
            self._check_in(self._first_check, path, unit)
        return future

    def removed(self, path: str, result: str) -> None:
        """Record the end of a job."""
        if (waiting := self._waiting.pop(path, None)) is not None:
            waiting.end(result)
        if self._listeners:
            # The reply that names the job may not have been read yet.
            self._ended[path] = result

    def forget(self) -> None:
        """End all jobs with the result UNKNOWN."""
        waiting, self._waiting = self._waiting, {}
        for item in waiting.values():
            item.end(UNKNOWN)

    def _check_in(self, seconds: float, path: str, unit: str) -> None:
        def due() -> None:
            task = asyncio.ensure_future(self._check(seconds, path, unit))
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)

        self._waiting[path].timer = asyncio.get_running_loop().call_later(seconds, due)

    async def _check(self, seconds: float, path: str, unit: str) -> None:
        """End a job that the unit no longer has: the answer of systemd follows the signals that it sent before.

        A check of a job that has not ended costs one small call.
        """
        try:
            lost = await self._job_of(unit) != path
            if lost and path in self._waiting:
                log.warning("systemd's signal that %s ended was lost; reading %s again", path, unit)
                await self._read_again(unit)
                self.removed(path, UNKNOWN)
        except SystemdError as error:
            log.debug("%s: %s; checking again later", unit, error)
        if path in self._waiting:
            self._check_in(min(2 * seconds, LONGEST_INTERVAL), path, unit)
