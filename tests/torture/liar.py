"""A user without any rights who forges signals about the app under torture, again and again.

Runs in the host as `nobody`. What it says is what would end a rollout if it were believed: that instances are ready,
dead or restarted, that jobs have ended (it asks systemd for their numbers, which everybody may), that systemd was
re-executed, that deployd or systemd went away, and to the clients that the rollout is over. Each goes to the daemon, by
its name and by its unique name, and to everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from dbus_next import BusType, Message, MessageType, Variant
from dbus_next.aio import MessageBus

from deployd.api import APP, MANAGER, NAME, ROOT, app_path
from deployd.systemd import manager as systemd
from tests.host.stage import APP as TARGET

BUS = "org.freedesktop.DBus"
PACE = 0.1
"""Seconds between two rounds of lies."""
INSTANCES = range(1, 10)

Lie = tuple[str, str, str, str, list[Any]]
"""path, interface, member, signature, body"""


def lies(rng: random.Random, jobs: list[list[Any]], generation: int) -> Iterator[Lie]:
    """One round. `jobs` are the rows of ListJobs."""
    number = rng.choice(INSTANCES)
    unit = f"{TARGET}@{number}.service"
    path = systemd.unit_path(unit)
    state, sub = rng.choice((("active", "running"), ("failed", "failed"), ("inactive", "dead")))
    changed = {
        "ActiveState": Variant("s", state),
        "SubState": Variant("s", sub),
        "InvocationID": Variant("ay", rng.randbytes(16)),
        "Job": Variant("(uo)", [0, "/"]),
    }
    yield path, systemd.PROPERTIES, "PropertiesChanged", "sa{sv}as", [systemd.UNIT, changed, []]
    service = {"MainPID": Variant("u", rng.randrange(1, 9999)), "NRestarts": Variant("u", rng.randrange(9))}
    yield path, systemd.PROPERTIES, "PropertiesChanged", "sa{sv}as", [systemd.SERVICE, service, []]
    umbrella = systemd.unit_path(f"{TARGET}.service")
    down = {"ActiveState": Variant("s", "inactive"), "SubState": Variant("s", "dead")}
    yield umbrella, systemd.PROPERTIES, "PropertiesChanged", "sa{sv}as", [systemd.UNIT, down, []]
    for job, name, _, _, job_path, _ in jobs:
        result = rng.choice(("done", "failed", "timeout"))
        yield systemd.PATH, systemd.MANAGER, "JobRemoved", "uoss", [job, job_path, name, result]
    yield systemd.PATH, systemd.MANAGER, "Reloading", "b", [False]
    for name in (NAME, systemd.NAME):
        yield "/org/freedesktop/DBus", BUS, "NameOwnerChanged", "sss", [name, ":1.1", ""]
    event = {"event": "finished", "app": TARGET, "to": generation, "generation": generation, "result": "succeeded"}
    yield app_path(TARGET), APP, "RolloutEvent", "s", [json.dumps({**event, "reason": "", "from": generation - 1})]
    status = {"app": TARGET, "generation": generation, "ready": 0, "desired": 4, "rollout": None, "instances": []}
    yield ROOT, MANAGER, "AppChanged", "ss", [TARGET, json.dumps(status)]


def signal_to(destination: str | None, lie: Lie) -> Message:
    """`lie` for one receiver, or for everybody."""
    path, interface, member, signature, body = lie
    message = Message.new_signal(path, interface, member, signature, body)
    if destination is not None:
        message.destination = destination
    return message


class Liar:
    """One connection, for as long as the bus lives."""

    def __init__(self, bus: MessageBus, rng: random.Random) -> None:
        self._bus = bus
        self._rng = rng

    async def lie(self) -> None:
        """Until the bus goes away."""
        ended = asyncio.ensure_future(self._bus.wait_for_disconnect())
        count = 0
        while not ended.done():
            jobs = await self._ask(systemd.NAME, systemd.PATH, systemd.MANAGER, "ListJobs") or [[]]
            owner = await self._ask(BUS, "/org/freedesktop/DBus", BUS, "GetNameOwner", "s", [NAME]) or [None]
            count += 1
            for lie in lies(self._rng, jobs[0], count % 500):
                for destination in (NAME, owner[0], None):
                    await self._bus.send(signal_to(destination, lie))
            await asyncio.wait({ended}, timeout=PACE)
        ended.exception()

    async def _ask(self, *call: Any) -> list[Any] | None:
        destination, path, interface, member, *rest = call
        signature, body = rest or ("", [])
        async with asyncio.timeout(5):
            reply = await self._bus.call(
                Message(
                    destination=destination,
                    path=path,
                    interface=interface,
                    member=member,
                    signature=signature,
                    body=body,
                )
            )
        return reply.body if reply is not None and reply.message_type is MessageType.METHOD_RETURN else None


async def main() -> None:
    """Until killed; a bus that went away is waited for."""
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    while True:
        with contextlib.suppress(OSError, EOFError, TimeoutError, Exception):
            await Liar(await MessageBus(bus_type=BusType.SYSTEM).connect(), rng).lie()
        await asyncio.sleep(0.2)  # that a bus comes back is announced nowhere


if __name__ == "__main__":
    asyncio.run(main())
