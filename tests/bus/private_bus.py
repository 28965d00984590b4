"""Runs the coroutines of a test against a private bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from deployd.bus import Bus
from tests import on_bus

DEADLINE = 20.0

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], deadline: float = DEADLINE) -> T:
    """Run `work` to completion, within `deadline` seconds."""
    return on_bus.run(_within(work, deadline))


async def _within(work: Coroutine[Any, Any, T], deadline: float) -> T:
    async with asyncio.timeout(deadline):
        return await work


@contextlib.asynccontextmanager
async def connections(address: str, count: int) -> AsyncIterator[list[Bus]]:
    """Open `count` connections to the bus at `address`; close them at the end."""
    made: list[Bus] = []
    try:
        for _ in range(count):
            made.append(await Bus.connect(address))
        yield made
    finally:
        for bus in made:
            await bus.close()
