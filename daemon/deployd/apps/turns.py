"""Admits one request per app at a time, and a removal before all others."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator

from deployd.apps.history_recovery import HistoryRecovery
from deployd.errors import Busy, Refused
from deployd.files.workers import DEADLINE
from deployd.rollout.hooks import Hooks


class Turns:
    """For all apps. A request that takes long delays other requests of its own app only."""

    def __init__(self, hooks: Hooks, recovery: HistoryRecovery) -> None:
        self._hooks = hooks
        self._recovery = recovery
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: dict[str, asyncio.Task[object] | None] = {}
        """The request of each app that is being carried out."""
        self._removing: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def request(self, name: str) -> AsyncIterator[None]:
        """Wait for earlier requests of the app.

        Raises Busy if one of them waits for hooks, which may take hours, or for a file system that does not answer;
        Refused if the app is removed, also while this request is carried out; StateError if its history cannot be used.
        """
        self._hooks.refuse_if_ahead(name)
        self._refuse_if_removing(name)
        try:
            async with asyncio.timeout(DEADLINE):
                await self._locks[name].acquire()
        except TimeoutError:
            raise Busy(
                f"another request for {name} has been in preparation for more than {DEADLINE:g} s; try again later"
            ) from None
        task = self._running[name] = asyncio.current_task()
        try:
            self._refuse_if_removing(name)
            self._recovery.require(name)
            yield
        except asyncio.CancelledError:
            if task is not None and self._removing[name]:
                task.uncancel()  # the caller gets an answer
            self._refuse_if_removing(name)
            raise
        finally:
            self._running.pop(name, None)
            self._locks[name].release()

    @contextlib.asynccontextmanager
    async def removal(self, name: str) -> AsyncIterator[None]:
        """Cancel the request under way: it may be waiting for a file server that hangs. Raises Busy and StateError."""
        self._recovery.require(name)
        self._hooks.refuse_if_ahead(name)
        self._removing[name] += 1
        try:
            if (running := self._running.get(name)) is not None:
                running.cancel()
            async with self._locks[name]:
                yield
        finally:
            self._removing[name] -= 1

    def _refuse_if_removing(self, name: str) -> None:
        if self._removing[name]:
            raise Refused(f"{name} is being removed")
