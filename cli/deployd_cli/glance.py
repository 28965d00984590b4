"""Looks at a steered app now and then, for what no signal tells: how many connections there are and were."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from deployd.errors import DeploydError
from deployd_cli.text.steering import steered

if TYPE_CHECKING:
    from deployd.api import Client

EVERY = 1.0
"""Seconds between two looks."""

Seen = Callable[[Mapping[str, Any]], None]


@contextlib.asynccontextmanager
async def glances(client: Client, app: str, seen: Seen) -> AsyncGenerator[None, None]:
    """While within, `seen` is given the status of `app` every second, if it is steered."""
    task = asyncio.ensure_future(_look(client, app, seen))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _look(client: Client, app: str, seen: Seen) -> None:
    while True:
        await asyncio.sleep(EVERY)
        with contextlib.suppress(DeploydError):  # who waits for events is told that the daemon is gone
            if not await client.present():
                continue
            status = await client.status(app)
            if not steered(status):
                return
            seen(status)
