"""Threads and turns for queries: the workers of root, and a small share of the daemon's time for all other callers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from deployd.apps.caller import Caller
from deployd.apps.quota import Quota
from deployd.files.workers import Workers

T = TypeVar("T")

AT_ONCE = 2
"""Queries of all unprivileged callers together that run at a time."""

PAUSE = 9
"""Length of the pause after a query, as a multiple of its duration: a user gets a tenth of the time."""


class ReaderPool:
    """Queries never use the workers of rollouts, however many they are."""

    def __init__(self) -> None:
        self.root = Workers()
        self.public = Workers(AT_ONCE)
        self._quota = Quota(AT_ONCE, pause=PAUSE)

    def workers(self, caller: Caller) -> Workers:
        """Return the workers for queries of the caller."""
        return self.root if caller.trusted else self.public

    async def run(self, caller: Caller, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a query within the caller's quota. Raises BusError (LimitsExceeded)."""
        return await self._quota.run(caller, work)
