"""The jobs of systemd whose end somebody waits for, and what is done when their end is not heard of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from deployd.errors import SystemdError

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""The result of a job whose end was not heard of."""

FIRST_LOOK, LAST_LOOK = 5.0, 60.0
"""Seconds without news of a job after which its unit is looked at, and looked at again: each time twice as long."""


@dataclass(slots=True)
class _Waiting:
    """Several may wait for one job: systemd answers a request for a job that is queued already with that job."""

    futures: list[asyncio.Future[str]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    def end(self, result: str) -> None:
        if self.timer is not None:
            self.timer.cancel()
        for future in self.futures:
            if not future.done():
                future.set_result(result)


class Jobs:
    """By object path. `look` returns the path of a unit's job now; `missed` reads a unit again, for if the end of its
    job was not heard of, a change of its state may not have been either."""

    def __init__(
        self,
        look: Callable[[str], Awaitable[str]],
        missed: Callable[[str], Awaitable[None]],
        first_look: float = FIRST_LOOK,
    ) -> None:
        self._look, self._missed, self._first_look = look, missed, first_look
        self._waiting: dict[str, _Waiting] = {}
        self._ended: dict[str, str] = {}
        self._listeners = 0
        self._looks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While a call may name a job that has ended before its reply is read."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._ended.clear()

    def end(self, path: str, unit: str) -> asyncio.Future[str]:
        """The result of a job of `unit`, to be asked for while listening."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if path in self._ended:
            future.set_result(self._ended[path])
            return future
        waiting = self._waiting.setdefault(path, _Waiting())
        waiting.futures.append(future)
        if waiting.timer is None:
            self._look_in(self._first_look, path, unit)
        return future

    def removed(self, path: str, result: str) -> None:
        """A job has ended."""
        if (waiting := self._waiting.pop(path, None)) is not None:
            waiting.end(result)
        if self._listeners:
            # The reply that names the job may not have been read yet.
            self._ended[path] = result

    def forget(self) -> None:
        """Nothing is known any more: all end, as unknown."""
        waiting, self._waiting = self._waiting, {}
        for item in waiting.values():
            item.end(UNKNOWN)

    def _look_in(self, seconds: float, path: str, unit: str) -> None:
        def due() -> None:
            task = asyncio.ensure_future(self._look_after(seconds, path, unit))
            self._looks.add(task)
            task.add_done_callback(self._looks.discard)

        self._waiting[path].timer = asyncio.get_running_loop().call_later(seconds, due)

    async def _look_after(self, seconds: float, path: str, unit: str) -> None:
        """A job has ended if its unit has it no more: what systemd answers comes after the signals that it sent before.

        If the job is still there after all, that is one small call.
        """
        try:
            lost = await self._look(unit) != path
            if lost and path in self._waiting:
                log.warning("systemd's signal that %s ended was lost; reading %s again", path, unit)
                await self._missed(unit)
                self.removed(path, UNKNOWN)
        except SystemdError as error:
            log.debug("%s: %s; looking again later", unit, error)
        if path in self._waiting:
            self._look_in(min(2 * seconds, LAST_LOOK), path, unit)
