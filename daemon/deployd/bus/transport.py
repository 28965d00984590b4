"""Opens, reads, writes and closes the socket of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable

from dbus_next import BusType
from dbus_next.aio import MessageBus

from deployd.bus.bodies import readable
from deployd.bus.wire import Garbled, Header, Stream
from deployd.errors import Unreachable

log = logging.getLogger(__name__)

MOST_LINE = 1024
"""Bytes of a line of the authentication protocol, before the first message."""


def unreachable(address: str | None, reason: object) -> Unreachable:
    """Return the error about the bus at `address`, None for that of the system."""
    bus = "the D-Bus system bus" if address is None else f"the D-Bus bus at {address}"
    return Unreachable(f"{bus} cannot be reached: {reason}")


class _Patient:
    """A socket for dbus-next's writer, which fails on a full buffer (altdesktop/python-dbus-next#153).

    Data that does not fit is written when there is room again. On a lost connection the data is dropped; the reader
    notices the loss too and ends the connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except ConnectionError:
            return len(data)  # an exception would end up in a future that is never awaited


class Transport:
    """The socket and writer of dbus-next, with a reader of our own. Create it with :meth:`connect`."""

    def __init__(self, connection: MessageBus) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self.disconnected: asyncio.Future[None] = asyncio.ensure_future(self._wait_for_disconnect())

    @classmethod
    async def connect(cls, address: str | None, timeout: float) -> Transport:
        """Connect to the system bus, or to the bus at `address`. Raises Unreachable."""
        connection: MessageBus | None = None
        try:
            async with asyncio.timeout(timeout):
                # The constructor opens the socket, so it may raise as well.
                connection = MessageBus(address, BusType.SYSTEM)  # type: ignore[arg-type]  # None is the default
                await _authenticate(connection._sock)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            if connection is not None:
                _close(connection)
            raise unreachable(address, str(error) or "no answer") from error
        return cls(connection)

    def start(self, stream: Stream, take: Callable[[Header, bytes], None]) -> None:
        """Split the incoming data with `stream`, and call `take` with each message."""
        self._connection._writer.sock = _Patient(self._connection._sock)
        # The value is not used, but dbus-next does not write without one.
        self._connection.unique_name = "unknown"  # type: ignore[assignment]
        self._loop.add_reader(self._connection._fd, self._read, stream, take)

    def next_serial(self) -> int:
        return int(self._connection.next_serial())

    def write(self, data: bytes) -> None:
        """Queue `data` for writing; do nothing when the connection is lost."""
        if not self._connection._disconnected:
            self._connection._writer.messages.put_nowait((data, [], None))
            self._connection._writer.schedule_write()

    async def close(self) -> None:
        """Disconnect, within a second."""
        self._connection.disconnect()
        await asyncio.wait({self.disconnected}, timeout=1)
        _close(self._connection)

    async def _wait_for_disconnect(self) -> None:
        # dbus-next raises an exception if the connection broke; both ends are treated alike.
        with contextlib.suppress(Exception):
            await self._connection.wait_for_disconnect()

    def _read(self, stream: Stream, take: Callable[[Header, bytes], None]) -> None:
        """Read once, a bounded amount, so that a sender that never stops cannot starve the event loop."""
        try:
            data = self._connection._sock.recv(stream.appetite)
            if not data:
                self._connection._finalize(EOFError())
            for header, body in stream.feed(data):
                take(header, body)
        except BlockingIOError:
            return
        except OSError as error:
            self._connection._finalize(error)
        except Garbled as error:
            log.error("the bus sends data that is not D-Bus: %s", error)
            self._connection._finalize(error)


async def _authenticate(sock: socket.socket) -> None:
    """Authenticate with EXTERNAL, that is by the credentials of the socket. Raises OSError, EOFError and ValueError.

    dbus-next's own authentication loops endlessly if the bus disconnects meanwhile.
    """
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"\0AUTH EXTERNAL %s\r\n" % str(os.getuid()).encode().hex().encode())
    line = b""
    while not line.endswith(b"\r\n") and len(line) < MOST_LINE:
        data = await loop.sock_recv(sock, MOST_LINE)
        if not data:
            raise EOFError("the bus closed the connection")
        line += data
    if not line.startswith(b"OK "):
        raise ValueError(f"the bus replied {readable(line.decode(errors='replace').strip(), 80)}")
    await loop.sock_sendall(sock, b"BEGIN\r\n")


def _close(connection: MessageBus) -> None:
    # dbus-next only shuts its socket down and leaves closing it to the garbage collector.
    connection._stream.close()
    connection._sock.close()
