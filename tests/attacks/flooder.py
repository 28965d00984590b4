"""Floods a bus name with messages of one user until it is killed.

    python3 -m tests.attacks.flooder KIND [DESTINATION]

`sink NAME` instead owns a name and discards what arrives, as the target of floods for comparison. Uses the standard
library only.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import struct
import sys
import threading
import time
from collections.abc import Callable

from tests.attacks.raw import DBUS, NO_REPLY, Raw, call, signal, string

ROOT, MANAGER, APP = "/org/deployd1", "org.deployd1.Manager", "org.deployd1.App"
RATE = 10_000
"""Calls per second of a quiet flood."""
BATCH = 100
CONNECTIONS = 200
"""Connections of one user; the system bus allows 256."""


def drain(bus: Raw) -> None:
    while bus.socket.recv(1 << 20):
        pass


def begun() -> None:
    """Report that the flood has begun."""
    print("flooding", flush=True)


def quiet(to: str, rate: float = RATE) -> None:
    """Send calls that expect no reply, at a rate."""
    flood([call(serial, to, ROOT, MANAGER, "Describe", flags=NO_REPLY) for serial in range(2, 2 + BATCH)], rate)


def flood(messages: list[bytes], rate: float = RATE) -> None:
    """Send the same messages repeatedly, and discard all replies."""
    bus = Raw()
    batch = b"".join(messages)
    bus.socket.setblocking(True)
    threading.Thread(target=drain, args=[bus], daemon=True).start()
    start = time.monotonic()
    for count in itertools.count(1):
        bus.send(batch)
        if count == 1:
            begun()
        late = start + count * BATCH / rate - time.monotonic()
        if late > 0:
            time.sleep(late)


def signals(to: str) -> None:
    """Send signals addressed to one connection, at the same rate."""
    flood(
        [signal(to, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "Reloading", "b", bytes(4))]
        * BATCH
    )


def furious(to: str) -> None:
    """Send calls that expect no reply as fast as the bus accepts them."""
    quiet(to, float("inf"))


def parallel(to: str) -> None:
    """Send calls over many connections, five at a time each, and another one after each reply."""
    buses = [Raw() for _ in range(CONNECTIONS)]
    several = b"".join(call(serial, to, ROOT, MANAGER, "Describe") for serial in range(2, 7))
    serials = itertools.count(7)  # the bus refuses a serial that is still pending
    by_number = {bus.socket.fileno(): bus for bus in buses}
    for bus in buses:
        bus.send(several)
    begun()
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    while True:
        for number, _ in poll.poll():
            by_number[number].socket.recv(65536)
            by_number[number].send(call(next(serials), to, ROOT, MANAGER, "ListApps"))


def unread(to: str) -> None:
    """Send calls without reading replies; replace connections that the bus closes."""
    data = b"".join(call(serial, to, f"{ROOT}/app/demo", APP, "History") for serial in range(2, 40))
    kept: list[Raw] = []
    for count in itertools.count():
        with contextlib.suppress(OSError, EOFError, AssertionError):
            if len(kept) >= CONNECTIONS:
                kept.pop(0).close()
            bus = Raw()
            bus.socket.settimeout(0.1)
            kept.append(bus)
            bus.send(data)
        if not count:
            begun()


def long(to: str) -> None:
    """Send bodies of many megabytes: strings, arrays of integers and of variants; the longest exceeds the bus limit."""
    text = string("x" * (17 << 20))
    numbers = struct.pack("<I", 17 << 20) + bytes(17 << 20)
    variants = b"\1y\0\7" * (1 << 20)
    bodies = [("s", text), ("ay", numbers), ("aq", numbers), ("av", struct.pack("<I", len(variants)) + variants)]
    bodies.append(("s", string("x" * (50 << 20))))
    messages = [call(2, to, ROOT, MANAGER, "Check", kind, body, NO_REPLY) for kind, body in bodies]
    bus = Raw(timeout=60)
    for count in itertools.count():
        try:
            bus.send(messages[count % len(messages)])
        except OSError:
            bus = Raw(timeout=60)
        if not count:
            begun()


def connecting(to: str) -> None:
    """Open a new connection for every eight calls."""
    data = b"".join(call(serial, to, ROOT, MANAGER, "Describe", flags=NO_REPLY) for serial in range(2, 10))
    for count in itertools.count():
        with contextlib.suppress(OSError, EOFError, AssertionError):
            bus = Raw()
            bus.send(data)
            bus.close()
        if not count:
            begun()


def sink(name: str) -> None:
    bus = Raw(timeout=3600)
    bus.send(
        call(
            2,
            DBUS,
            "/org/freedesktop/DBus",
            DBUS,
            "RequestName",
            "su",
            string(name) + bytes(-len(string(name)) & 3) + bytes(4),
        )
    )
    bus.reply(2)
    begun()
    drain(bus)


KINDS: dict[str, Callable[[str], None]] = {
    kind.__name__: kind for kind in (quiet, signals, furious, parallel, unread, long, connecting, sink)
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "org.deployd1")
