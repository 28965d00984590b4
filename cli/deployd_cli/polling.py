"""Polls the status of a steered app: no signal announces the number of connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from deployd.errors import DeploydError
from deployd_cli.text.steering import steered

if TYPE_CHECKING:
    from deployd.api import Client

INTERVAL = 1.0
"""Seconds between two polls."""

Receive = Callable[[Mapping[str, Any]], None]


@contextlib.asynccontextmanager
async def polled(client: Client, app: str, receive: Receive) -> AsyncGenerator[None, None]:
    """Within the context, pass the status of `app` to `receive` every second if the app is steered."""
    task = asyncio.ensure_future(_poll(client, app, receive))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _poll(client: Client, app: str, receive: Receive) -> None:
    while True:
        await asyncio.sleep(INTERVAL)
        with contextlib.suppress(DeploydError):  # the caller waits for events and notices a lost daemon
            if not await client.present():
                continue
            status = await client.status(app)
            if not steered(status):
                return
            receive(status)
