"""What is said on a host's bus: method calls, by member, as dbus-daemon lets root listen to them (BecomeMonitor)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from dbus_next import Message, MessageType
from dbus_next.aio import MessageBus

SYSTEMD = "org.freedesktop.systemd1"


@contextlib.asynccontextmanager
async def calls_to(address: str, destination: str = SYSTEMD) -> AsyncIterator[Counter[str]]:
    """Counts the calls to `destination` by member, for as long as the block runs."""
    counts: Counter[str] = Counter()

    def heard(message: Message) -> bool:
        if message.message_type is MessageType.METHOD_CALL and message.destination == destination:
            counts[message.member] += 1
        return True

    bus = await MessageBus(address).connect()
    rule = f"type='method_call',destination='{destination}'"
    monitoring = "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Monitoring", "BecomeMonitor"
    await bus.call(Message(*monitoring, signature="asu", body=[[rule], 0]))
    bus.add_message_handler(heard)
    try:
        yield counts
    finally:
        bus.disconnect()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(bus.wait_for_disconnect(), 1)
        bus._stream.close()
        bus._sock.close()
