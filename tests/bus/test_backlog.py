"""More concurrent calls than the bus allows, and more data than its socket buffers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deployd.bus import MOST_CALLS, Bus, MethodCall, Reply
from tests.bus.private_bus import connections, run
from tests.cli.fake_daemon import private_bus

NAME, PATH, INTERFACE = "org.example.Server", "/org/example", "org.example.Interface"
REFUSED_BY_THE_BUS = 128  # default max_replies_per_connection of dbus-daemon
CALLS = 3 * REFUSED_BY_THE_BUS
TEXT = "x" * 16_000


async def echo(call: MethodCall) -> Reply:
    return call.signature, call.body


async def calls_at_once(address: str) -> list[str]:
    async with connections(address, 2) as (server, client):
        server.serve(echo)
        await server.request_name(NAME)

        async def call(bus: Bus, number: int) -> str:
            [answer] = await bus.call(NAME, PATH, INTERFACE, "Echo", "s", [f"{number} {TEXT}"])
            return str(answer)

        await call(client, -1)  # the server queues fewer calls of a connection it has not identified yet
        return await asyncio.gather(*(call(client, number) for number in range(CALLS)))


def test_many_concurrent_calls_are_all_answered(tmp_path: Path) -> None:
    assert MOST_CALLS < REFUSED_BY_THE_BUS
    with private_bus(tmp_path) as address:
        answers = run(calls_at_once(address))
    assert answers == [f"{number} {TEXT}" for number in range(CALLS)]
