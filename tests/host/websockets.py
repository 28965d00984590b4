"""Many idle WebSocket clients that reconnect at once, and a server that asks them to leave when it gets SIGUSR1."""

from __future__ import annotations

import asyncio
import ctypes
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.host.network import CLONE_NEWNET

RESTART, GOING_AWAY, ABNORMAL = 1012, 1001, 1006
"""Close codes (RFC 6455, section 7.4.1, and IANA): asked by the signal, at the stop, without a close frame."""

SERVER = """\
#!/usr/bin/python3
import asyncio, json, os, signal, socket

clients = set()
who = json.dumps({name: int(os.environ["DEPLOYD_" + name.upper()]) for name in ("generation", "instance")}).encode()

async def serve(reader, writer):
    try:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        if b"Upgrade: websocket" not in head:
            writer.write(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(who) + who)
        else:
            writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n")
            writer.write(b"Connection: Upgrade\\r\\n\\r\\n" + who + b"\\n")
            clients.add(writer)
            await reader.read()
    except (OSError, asyncio.IncompleteReadError):
        pass
    clients.discard(writer)
    writer.close()

def leave(code):
    for writer in list(clients):
        writer.write(b"\\x88\\x02" + code.to_bytes(2, "big"))
        writer.close()

async def main():
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    listener = socket.socket(fileno=3)
    await asyncio.start_server(serve, sock=listener, backlog=4096)
    loop.add_signal_handler(signal.SIGUSR1, leave, 1012)
    loop.add_signal_handler(signal.SIGTERM, over.set)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        address = os.environ["NOTIFY_SOCKET"]
        notify.sendto(b"READY=1", "\\0" + address[1:] if address[0] == "@" else address)
    await over.wait()
    leave(1001)
    await asyncio.sleep(0.05)

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Visit:
    """One connection of a client."""

    client: int
    at: float
    """When it was established (CLOCK_MONOTONIC seconds)."""
    generation: int
    instance: int


@dataclass(slots=True)
class Clients:
    """Clients that keep one connection each, and open another as soon as it is closed. A context manager."""

    namespace: Path
    port: int
    count: int
    visits: list[Visit] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    """Close codes."""
    failures: list[str] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _connected: set[int] = field(default_factory=set)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        if self._thread is not None:
            self._thread.join(30)

    @property
    def connected(self) -> int:
        """The number of clients that have a connection."""
        return len(self._connected)

    def moves(self) -> Counter[int]:
        """Return how often each client that was moved had to reconnect."""
        found = Counter(visit.client for visit in self.visits)
        return Counter({client: times - 1 for client, times in found.items() if times > 1})

    def places(self) -> dict[int, Visit]:
        """Return the last connection of each client."""
        return {visit.client: visit for visit in self.visits}

    def _run(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with self.namespace.open() as file:  # of this thread alone
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {self.namespace}")
        asyncio.set_event_loop(self._loop)
        tasks = [self._loop.create_task(self._client(number)) for number in range(self.count)]
        self._loop.run_forever()
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _stop(self) -> None:
        self._loop.stop()

    async def _client(self, number: int) -> None:
        while True:
            try:
                await self._visit(number)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.failures.append(f"client {number}: {error!r}")
                await asyncio.sleep(0.1)
            finally:
                self._connected.discard(number)

    async def _visit(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET /events HTTP/1.1\r\nHost: demo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            who: dict[str, Any] = json.loads(await reader.readuntil(b"\n"))
            self.visits.append(Visit(number, time.monotonic(), who["generation"], who["instance"]))
            self._connected.add(number)
            frame = await reader.read(64)
            self.codes[int.from_bytes(frame[2:4], "big") if frame[:2] == b"\x88\x02" else ABNORMAL] += 1
        finally:
            writer.close()
