"""Work that is done for a caller as long as it is on the bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from deployd.apps.caller import Caller
from deployd.bus import Bus


@contextlib.asynccontextmanager
async def until_gone(bus: Bus, caller: Caller) -> AsyncIterator[None]:
    """Cancel what is done in the context when the caller leaves the bus."""
    task = asyncio.current_task()

    def left(owner: str) -> None:
        if not owner and task is not None:
            task.cancel()

    end = await bus.follow(caller.sender, left)
    try:
        yield
    finally:
        end()
