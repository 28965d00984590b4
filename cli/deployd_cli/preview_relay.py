"""Passes connections on, from the private address of a preview to its instance.

The daemon connects a socket of this process to the instance, so that no other user can choose one. It sees no data.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from deployd.errors import DeploydError, InvalidRequest, Unreachable
from deployd_cli.output import message

if TYPE_CHECKING:
    from deployd.api import Client

FIRST = 3
"""SD_LISTEN_FDS_START"""
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "unix": socket.AF_UNIX}
"""Of the sockets of which the daemon takes one."""
AT_ONCE = 8
"""Connections that the daemon is asked for at a time. It answers 24 calls of one user at a time."""
MOST = 400
"""Connections at a time, with two descriptors each; others wait in the queue of the socket."""
TRIES = 3
"""Calls until the daemon answers: one that is killed is started again by the next call."""
SIZE = 1 << 16


class Relay:
    """The connections to the preview of `app`, which arrive at the socket that is the `first` to be passed."""

    def __init__(self, client: Client, app: str, first: int = FIRST) -> None:
        self._client = client
        self._app = app
        self._first = first
        self._asking = asyncio.Semaphore(AT_ONCE)
        self._places = asyncio.Semaphore(MOST)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Pass connections on until the bus is lost; systemd starts the service again then. Raises InvalidRequest."""
        if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
            raise InvalidRequest(f"--relay is for the unit {self._app}:preview.service, which systemd passes a socket")
        with socket.socket(fileno=self._first) as listener:
            listener.setblocking(False)
            accepting = asyncio.ensure_future(self._accept(listener))
            await asyncio.wait({accepting, self._client.bus.disconnected}, return_when=asyncio.FIRST_COMPLETED)
            accepting.cancel()
        raise Unreachable("the connection to the bus was lost")

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            connection, _ = await loop.sock_accept(listener)
            task = asyncio.ensure_future(self._pass_on(connection))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._places.release()

    async def _pass_on(self, connection: socket.socket) -> None:
        try:
            async with self._asking:
                instance = await self._connected()
        except (DeploydError, OSError) as error:
            message(f"{self._app}: {error}")
            connection.close()
            return
        theirs, ours = [await asyncio.open_connection(sock=item) for item in (connection, instance)]
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(theirs[0], ours[1]), _copy(ours[0], theirs[1]))
        for _, writer in (theirs, ours):
            writer.close()

    async def _connected(self) -> socket.socket:
        """Return a socket that the daemon has connected to the instance. Raises DeploydError and OSError."""
        with contextlib.ExitStack() as stack:
            made = {name: _new(family) for name, family in FAMILIES.items()}
            found = {name: stack.enter_context(item) for name, item in made.items() if item is not None}
            answer = await self._asked({name: item.fileno() for name, item in found.items()})
            return found[answer].dup()

    async def _asked(self, descriptors: dict[str, int]) -> str:
        for left in reversed(range(TRIES)):
            try:
                return str((await self._client.connect_preview(self._app, descriptors))["family"])
            except Unreachable:
                if not left:
                    raise
        raise AssertionError


def _new(family: socket.AddressFamily) -> socket.socket | None:
    try:
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError:
        return None  # a machine without IPv6


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end of the stream, and pass that on."""
    while data := await reader.read(SIZE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
