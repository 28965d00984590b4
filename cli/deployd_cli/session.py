"""Runs a coroutine with a connected client: from typer's world of functions to asyncio's, and back."""

from __future__ import annotations

import gc
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployd_cli.interrupted import Interrupted
from deployd_cli.startup import without

with without("ssl", "gi"):
    import asyncio

    from deployd.api import Client

T = TypeVar("T")


def run(work: Callable[[Client], Awaitable[T]], *, timeout: float = 5.0) -> T:
    """Connect within `timeout` seconds, do `work`, disconnect. ^C cancels `work` and raises Interrupted.

    On a terminal polkit may ask for a password, as with systemctl(1).
    """
    interactive = sys.stdin is not None and sys.stdin.isatty()

    async def connected() -> T:
        async with await Client.connect(timeout=timeout, interactive=interactive) as client:
            gc.freeze()  # main switched it off, and it would begin with a look at all that was imported
            gc.enable()
            return await work(client)

    try:
        return asyncio.run(connected())
    except KeyboardInterrupt:
        raise Interrupted from None
