"""Runs a coroutine with a connected client, from a function of typer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployd.api import Client
from deployd_cli.interrupted import Interrupted
from deployd_cli.password_agent import PasswordAgent

T = TypeVar("T")


def run(work: Callable[[Client], Awaitable[T]], *, timeout: float = 5.0) -> T:
    """Connect within `timeout` seconds, run `work`, disconnect. ^C cancels `work` and raises Interrupted.

    On a terminal polkit may ask for a password, as with systemctl(1).
    """

    async def connected() -> T:
        async with await Client.connect(timeout=timeout, may_ask=agent.start) as client:
            gc.freeze()  # or the first collection would search all that was imported, a tenth of a command's time
            gc.enable()  # off until here, see main; waiting may take days
            return await work(client)

    try:
        with PasswordAgent() as agent:
            return asyncio.run(connected())
    except KeyboardInterrupt:
        raise Interrupted from None
