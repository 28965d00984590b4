"""Whose turn it is: one request per app at a time, and a removal before all others."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator

from deployd.errors import Busy, Refused
from deployd.files.workers import DEADLINE


class Turns:
    """Of all apps. Each has its own, so that one whose request takes long keeps no other app waiting."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asking: dict[str, asyncio.Task[object] | None] = {}
        """The request of each app whose turn it is."""
        self._removing: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def request(self, name: str) -> AsyncIterator[None]:
        """Wait for the requests before this one. Raises Refused once the app is to be removed, also later on, and Busy
        when one of them takes too long, such as one that waits for a file system that does not answer."""
        self.refuse_if_removing(name)
        try:
            async with asyncio.timeout(DEADLINE):
                await self._locks[name].acquire()
        except TimeoutError:
            raise Busy(
                f"another request of {name} is being prepared and has not ended for {DEADLINE:g} s; try again later"
            ) from None
        task = self._asking[name] = asyncio.current_task()
        try:
            self.refuse_if_removing(name)
            yield
        except asyncio.CancelledError:
            if task is not None and self._removing[name]:
                task.uncancel()  # it goes on, with the answer
            self.refuse_if_removing(name)
            raise
        finally:
            self._asking.pop(name, None)
            self._locks[name].release()

    @contextlib.asynccontextmanager
    async def removal(self, name: str) -> AsyncIterator[None]:
        """End the request under way: it may be waiting for what never comes, a release on a file server that hangs."""
        self._removing[name] += 1
        try:
            if (asking := self._asking.get(name)) is not None:
                asking.cancel()
            async with self._locks[name]:
                yield
        finally:
            self._removing[name] -= 1

    def refuse_if_removing(self, name: str) -> None:
        if self._removing[name]:
            raise Refused(f"{name} is being removed")
