"""Opens, reads, writes and closes the socket of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

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


Ancillary = Sequence[tuple[int, int, Any]]
"""As socket.sendmsg() takes it."""


class _Patient:
    """A socket for dbus-next's writer, which fails on a full buffer (altdesktop/python-dbus-next#153).

    Data that does not fit is written when there is room again. On a lost connection the data is dropped; the reader
    notices the loss too and ends the connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._ancillary: Ancillary = []
        """What the next data has to be sent with."""

    def send(self, data: memoryview) -> int:
        try:
            if not self._ancillary:
                return self._sock.send(data)
            sent = self._sock.sendmsg([data], self._ancillary)
            self._ancillary = []
            return sent
        except BlockingIOError:
            return 0
        except ConnectionError:
            return len(data)  # an exception would end up in a future that is never awaited

    def sendmsg(self, buffers: Sequence[memoryview], ancillary: Ancillary) -> int:
        # The writer forgets the descriptors whether they were sent or not.
        self._ancillary = ancillary
        return self.send(buffers[0])


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
        self._connection._writer.negotiate_unix_fd = True
        # The value is not used, but dbus-next does not write without one.
        self._connection.unique_name = "unknown"  # type: ignore[assignment]
        self._loop.add_reader(self._connection._fd, self._read, stream, take)

    def next_serial(self) -> int:
        return int(self._connection.next_serial())

    def write(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Queue `data` for writing, with copies of descriptors; do nothing when the connection is lost."""
        if self._connection._disconnected:
            return
        copies, written = [os.dup(descriptor) for descriptor in descriptors], None
        if copies:
            written = self._loop.create_future()
            written.add_done_callback(lambda _: _close_all(copies))
        self._connection._writer.messages.put_nowait((data, copies, written))
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
    """Authenticate with EXTERNAL, that is by the credentials of the socket, and agree on sending descriptors. Raises
    OSError, EOFError and ValueError.

    dbus-next's own authentication loops endlessly if the bus disconnects meanwhile. Descriptors that others send are
    dropped by the kernel, because no read of ours asks for them.
    """
    uid = str(os.getuid()).encode().hex().encode()
    await _ask(sock, b"\0AUTH EXTERNAL %s\r\n" % uid, b"OK ")
    await _ask(sock, b"NEGOTIATE_UNIX_FD\r\n", b"AGREE_UNIX_FD")
    await asyncio.get_running_loop().sock_sendall(sock, b"BEGIN\r\n")


async def _ask(sock: socket.socket, line: bytes, expected: bytes) -> None:
    """Send a line of the authentication protocol. Raises ValueError if the reply does not begin as `expected`."""
    loop, reply = asyncio.get_running_loop(), b""
    await loop.sock_sendall(sock, line)
    while not reply.endswith(b"\r\n") and len(reply) < MOST_LINE:
        data = await loop.sock_recv(sock, MOST_LINE)
        if not data:
            raise EOFError("the bus closed the connection")
        reply += data
    if not reply.startswith(expected):
        raise ValueError(f"the bus replied {readable(reply.decode(errors='replace').strip(), 80)}")


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _close(connection: MessageBus) -> None:
    # dbus-next only shuts its socket down and leaves closing it to the garbage collector.
    connection._stream.close()
    connection._sock.close()
