"""The D-Bus connection: calls with deadlines, signals, and serving method calls.

The only module that imports dbus_next. It knows no interface of anybody: systemd's is in systemd/manager.py,
ours in service/ (server side) and api.py (client side).

Facts it works around (dbus-next 0.2.3): a call on a bus that died never returns, so every call has a
deadline; call() returns error replies instead of raising them; message handlers see replies too; and a full
socket ends the connection (altdesktop/python-dbus-next#153), so its writer gets a socket that takes no for 0 bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dbus_next import BusType, Message, MessageFlag, MessageType, NameFlag, RequestNameReply, Variant
from dbus_next.aio import MessageBus
from dbus_next.errors import AuthError

from deployd.errors import PREFIX, DeploydError, Unreachable

log = logging.getLogger(__name__)

DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
DEFAULT_TIMEOUT = 10.0

MOST_CALLS = 64
"""Calls that await their reply at once. dbus-daemon refuses more than 128 on the system bus
(max_replies_per_connection), and reading a hundred units is a thousand calls."""


MOST_KNOWN = 1024
"""Connections whose credentials are remembered, the oldest forgotten first."""


class BusError(Exception):
    """An error reply. `name` is the D-Bus error name, `message` the text that came with it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{message} ({name})")
        self.name = name
        self.message = message


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal as it arrived, variants unwrapped."""

    sender: str
    path: str
    interface: str
    member: str
    body: list[Any]


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A method call on one of our objects, variants unwrapped."""

    sender: str
    path: str
    interface: str
    member: str
    signature: str
    body: list[Any]
    interactive: bool = False
    """Whether the caller may be asked for a password meanwhile (ALLOW_INTERACTIVE_AUTHORIZATION of its message)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user behind a connection, as the bus itself read them from the socket (SO_PEERCRED, SO_PEERGROUPS)."""

    uid: int
    groups: frozenset[int]
    """All groups of the process, the primary one included; empty where the bus does not know them."""


Reply = tuple[str, list[Any]]
Server = Callable[[MethodCall], Awaitable[Reply]]


class _Patient:
    """A socket for dbus-next's writer: what does not fit now is written when there is room again, and on a bus that is
    gone nothing is: its reader hears of that as well, and ends the connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except ConnectionError:
            return len(data)  # raised, it would stay in a future that nobody asks any more


def _ignored(task: asyncio.Task[Any]) -> None:
    """Or asyncio complains that nobody looked at its exception."""
    if not task.cancelled():
        task.exception()


class Bus:
    """One connection to a message bus. Make it with :meth:`connect`."""

    def __init__(self, connection: MessageBus) -> None:
        self._connection = connection
        self._signal_handlers: list[Callable[[Signal], None]] = []
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MOST_CALLS)
        self._credentials: dict[str, Credentials] = {}
        connection._writer.sock = _Patient(connection._sock)
        connection.add_message_handler(self._on_message)
        self.disconnected: asyncio.Future[None] = asyncio.ensure_future(self._wait_for_disconnect())

    @classmethod
    async def connect(cls, address: str | None = None, timeout: float = 5.0) -> Bus:
        """The system bus, or the one at `address`. Raises Unreachable."""
        try:
            # The constructor opens the socket, so it may raise as well.
            connection = MessageBus(address, BusType.SYSTEM)  # type: ignore[arg-type]  # None is the default
            await asyncio.wait_for(connection.connect(), timeout)
        except (OSError, AuthError, EOFError, TimeoutError, ValueError) as error:
            raise Unreachable(f"the D-Bus system bus cannot be reached: {str(error) or 'no answer'}") from error
        return cls(connection)

    async def _wait_for_disconnect(self) -> None:
        # dbus-next ends with an exception on a broken connection; for us both ends are the same news.
        with contextlib.suppress(Exception):
            await self._connection.wait_for_disconnect()

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        interactive: bool = False,
    ) -> list[Any]:
        """Call a method and return the reply's body, variants unwrapped.

        `interactive`: the callee may have somebody asked for a password before it answers.

        Raises BusError for an error reply, and for no reply within `timeout` seconds of sending
        (org.freedesktop.DBus.Error.NoReply).
        """
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=[_wrap(item) for item in body or []],
            flags=MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else MessageFlag.NONE,
        )
        async with self._slots:
            call = asyncio.ensure_future(self._connection.call(message))
            call.add_done_callback(_ignored)  # who asked may have been cancelled, or have heard of the bus's end first
            waiting: set[asyncio.Future[Any]] = {call, self.disconnected}
            done, _ = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if call not in done:
            call.cancel()
            what = "the bus went away" if self.disconnected in done else f"no reply within {timeout:g} s"
            raise BusError("org.freedesktop.DBus.Error.NoReply", f"{interface}.{member} of {destination}: {what}")
        try:
            reply = call.result()
        except (OSError, EOFError) as error:
            # dbus-next ends pending calls with what its socket said.
            text = f"{interface}.{member} of {destination}: the bus went away"
            raise BusError("org.freedesktop.DBus.Error.NoReply", text) from error
        if reply is None:
            raise BusError("org.freedesktop.DBus.Error.NoReply", f"{interface}.{member} of {destination}: no reply")
        if reply.message_type is MessageType.ERROR:
            text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else reply.error_name
            raise BusError(reply.error_name, text)
        return [_unwrap(item) for item in reply.body]

    async def credentials(self, sender: str) -> Credentials:
        """The user behind a unique bus name, which is never given to another connection. Raises BusError."""
        known = self._credentials.get(sender)
        if known is None:
            (told,) = await self.call(*DBUS, "GetConnectionCredentials", "s", [sender])
            known = Credentials(told["UnixUserID"], frozenset(told.get("UnixGroupIDs", ())))
            if len(self._credentials) >= MOST_KNOWN:
                self._credentials.pop(next(iter(self._credentials)))
            self._credentials[sender] = known
        return known

    async def add_match(self, rule: str) -> None:
        """Ask the bus for signals; see on_signal."""
        await self.call(*DBUS, "AddMatch", "s", [rule])

    def on_signal(self, handler: Callable[[Signal], None]) -> Callable[[], None]:
        """Have `handler` called for every signal that arrives; returns what takes it away again."""
        self._signal_handlers.append(handler)
        return lambda: self._signal_handlers.remove(handler)

    def serve(self, server: Server) -> None:
        """Answer method calls to us with `server`: it returns (signature, body) or raises.

        A DeploydError or BusError becomes its error reply; anything else is logged as the bug it is.
        """
        self._server = server

    async def request_name(self, name: str) -> None:
        """Own a well-known name. Raises BusError when somebody else does."""
        (reply,) = await self.call(*DBUS, "RequestName", "su", [name, NameFlag.DO_NOT_QUEUE.value])
        if reply not in (RequestNameReply.PRIMARY_OWNER.value, RequestNameReply.ALREADY_OWNER.value):
            raise BusError("org.freedesktop.DBus.Error.NameExists", f"another process owns {name}")

    def emit(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        """Broadcast a signal; does nothing on a bus that is gone."""
        if not self.disconnected.done():
            self._send(Message.new_signal(path, interface, member, signature, [_wrap(item) for item in body]))

    async def close(self) -> None:
        """Disconnect, within a second."""
        self._connection.disconnect()
        await asyncio.wait({self.disconnected}, timeout=1)
        # dbus-next only shuts its socket down and leaves the closing to the garbage collector.
        self._connection._stream.close()
        self._connection._sock.close()

    def _on_message(self, message: Message) -> bool:
        if message.message_type is MessageType.SIGNAL:
            signal = Signal(
                message.sender or "",
                message.path or "",
                message.interface or "",
                message.member or "",
                [_unwrap(item) for item in message.body],
            )
            for handler in list(self._signal_handlers):
                handler(signal)
            return False
        if message.message_type is MessageType.METHOD_CALL and self._server is not None:
            task = asyncio.ensure_future(self._answer(message, self._server))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return True
        return False

    async def _answer(self, message: Message, server: Server) -> None:
        call = MethodCall(
            message.sender or "",
            message.path or "",
            message.interface or "",
            message.member or "",
            message.signature,
            [_unwrap(item) for item in message.body],
            bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION),
        )
        try:
            signature, body = await server(call)
            reply = Message.new_method_return(message, signature, [_wrap(item) for item in body])
        except DeploydError as error:
            reply = Message.new_error(message, error.dbus_name, str(error))
        except BusError as error:
            reply = Message.new_error(message, error.name, error.message)
        except Exception as error:
            log.exception("%s.%s failed", call.interface, call.member)
            reply = Message.new_error(
                message, PREFIX + DeploydError.name, f"internal error: {error!r}; see the journal"
            )
        if not message.flags & MessageFlag.NO_REPLY_EXPECTED:
            self._send(reply)

    def _send(self, message: Message) -> None:
        task = asyncio.ensure_future(self._sent(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sent(self, message: Message) -> None:
        try:
            await self._connection.send(message)
        except (OSError, EOFError) as error:
            log.debug("a message was not sent, ignoring: %s", error)


def _wrap(value: Any) -> Any:
    """Turn a mapping of (signature, value) pairs into an a{sv}, at any depth of the top level."""
    if isinstance(value, Mapping):
        return {key: Variant(*item) if isinstance(item, tuple) else item for key, item in value.items()}
    if isinstance(value, list):
        return [_wrap(item) for item in value]
    return value


def _unwrap(value: Any) -> Any:
    if isinstance(value, Variant):
        return _unwrap(value.value)
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if isinstance(value, dict):
        return {key: _unwrap(item) for key, item in value.items()}
    return value


def variant(signature: str, value: Any) -> Any:
    """A value to send where the signature says ``v``."""
    return Variant(signature, value)
