"""Runs a coroutine with a connected client, from a function of typer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployd.api import Client, MayAsk
from deployd.errors import Unreachable
from deployd_cli.chosen import Chosen
from deployd_cli.interrupted import Interrupted
from deployd_cli.password_agent import PasswordAgent

T = TypeVar("T")


async def connect(timeout: float, may_ask: MayAsk | None = None) -> Client:
    """Connect to the bus of the chosen scope. Raises Unreachable."""
    try:
        return await Client.connect(Chosen.scope.bus, timeout=timeout, may_ask=may_ask)
    except Unreachable as error:
        if not Chosen.scope.is_user:
            raise
        raise Unreachable(f"{error}; --user needs a login session, or lingering (loginctl enable-linger)") from None


def run(work: Callable[[Client], Awaitable[T]], *, timeout: float = 5.0) -> T:
    """Connect within `timeout` seconds, run `work`, disconnect. ^C cancels `work` and raises Interrupted.

    On a terminal polkit may ask for a password, as with systemctl(1); a user's own daemon needs none.
    """
    scope = Chosen.scope

    async def connected() -> T:
        may_ask = None if scope.is_user else agent.start
        async with await connect(timeout, may_ask) as client:
            gc.freeze()  # or the first collection would search all that was imported, a tenth of a command's time
            gc.enable()  # off until here, see main; waiting may take days
            return await work(client)

    try:
        with PasswordAgent() as agent:
            return asyncio.run(connected())
    except KeyboardInterrupt:
        raise Interrupted from None
