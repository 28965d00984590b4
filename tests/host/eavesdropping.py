"""Monitors the messages on a host's bus, which dbus-daemon allows root (BecomeMonitor)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from dbus_next import Message, MessageType
from dbus_next.aio import MessageBus

TO_SYSTEMD = "type='method_call',destination='org.freedesktop.systemd1'"
STATUSES = "type='signal',interface='org.deployd1.Manager',member='AppChanged'"


@contextlib.asynccontextmanager
async def heard(address: str, rule: str) -> AsyncIterator[Counter[str]]:
    """Count the matching messages by member during the block."""
    counts: Counter[str] = Counter()

    def hear(message: Message) -> bool:
        # A monitor loses its unique name, and may get NameLost for it only after the reply to BecomeMonitor.
        mine = message.destination == bus.unique_name
        if message.message_type in (MessageType.METHOD_CALL, MessageType.SIGNAL) and not mine:
            counts[message.member] += 1
        return True

    bus = await MessageBus(address).connect()
    monitoring = "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Monitoring", "BecomeMonitor"
    await bus.call(Message(*monitoring, signature="asu", body=[[rule], 0]))
    bus.add_message_handler(hear)
    try:
        yield counts
    finally:
        bus.disconnect()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(bus.wait_for_disconnect(), 1)
        bus._stream.close()
        bus._sock.close()
