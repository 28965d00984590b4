"""Method calls to other connections: with a deadline, a limit per destination, and a check of the reply's sender."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dbus_next import MessageFlag

from deployd.bus.bodies import Unreadable, Unsendable, marshal, read
from deployd.bus.messages import DBUS, ERROR, NO_REPLY, BusError
from deployd.bus.transport import Transport
from deployd.bus.wire import ERROR as ERROR_REPLY
from deployd.bus.wire import Header

MOST_CALLS = 40
"""Calls to one destination that may await a reply at a time. dbus-daemon refuses more than 128 pending replies of one
connection (max_replies_per_connection), and deployd calls three destinations: the bus, systemd and polkit."""

Outgoing = tuple[str, str, str, str, list[Any] | None]
"""Path, interface, member, signature and body of a call."""

Settle = Callable[[Header | None, bytes], None]
"""Called with the header and body of the reply; with None if the connection to the bus is lost first."""


class _Asked(NamedTuple):
    """A call that awaits its reply."""

    destination: str
    owner: str
    """Owner of `destination` when the call was sent, "" if not known yet."""
    settle: Settle


class Calls:
    """The calls made over one connection. `owners` maps well-known names to unique names."""

    def __init__(self, transport: Transport, owners: Mapping[str, str]) -> None:
        self._transport = transport
        self._owners = owners
        self._asked: dict[int, _Asked] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        transport.disconnected.add_done_callback(lambda _: self._lost())

    async def call(
        self,
        destination: str,
        call: Outgoing,
        *,
        timeout: float,
        interactive: bool,
        signatures: bool,
        descriptors: Sequence[int] = (),
    ) -> list[Any]:
        """See Bus.call."""
        what, sent = f"{call[1]}.{call[2]} of {destination}", False
        slots = self._slots.setdefault(destination, asyncio.Semaphore(MOST_CALLS))
        try:
            async with asyncio.timeout(timeout):
                await slots.acquire()
                reply = self._send(slots, destination, call, interactive, descriptors)
                sent = True
                header, data = await reply
        except TimeoutError:
            why = f"no reply within {timeout:g} s"
            if not sent:
                why = f"not sent within {timeout:g} s because {MOST_CALLS} earlier calls still await their replies"
            raise BusError(NO_REPLY, f"{what}: {why}") from None
        if header is None:
            raise BusError(NO_REPLY, f"{what}: the connection to the bus was lost")
        return _values(what, header, data, signatures=signatures)

    def _send(
        self,
        slots: asyncio.Semaphore,
        destination: str,
        call: Outgoing,
        interactive: bool,
        descriptors: Sequence[int],
    ) -> asyncio.Future[tuple[Header | None, bytes]]:
        """Send a call that holds one of the slots; return a future for its reply. Raises BusError."""
        reply: asyncio.Future[tuple[Header | None, bytes]] = asyncio.get_running_loop().create_future()

        def settle(header: Header | None, data: bytes) -> None:
            # Not when the caller gives up: the bus counts a call as pending until its reply has arrived.
            slots.release()
            if not reply.done():
                reply.set_result((header, data))

        try:
            self.ask(settle, destination, call, interactive=interactive, descriptors=descriptors)
        except BaseException:
            slots.release()
            raise
        if self._transport.disconnected.done():
            self._lost()
        return reply

    def ask(
        self,
        settle: Settle | None,
        destination: str,
        call: Outgoing,
        *,
        interactive: bool = False,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Send a call and have `settle` called with its reply; None means that no reply is wanted. Raises BusError."""
        path, interface, member, signature, body = call
        serial = self._transport.next_serial()
        flags = MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else MessageFlag.NONE
        try:
            data = marshal(
                body or [],
                serial=serial,
                destination=destination,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                flags=flags if settle is not None else MessageFlag.NO_REPLY_EXPECTED,
                **({"unix_fds": list(descriptors)} if descriptors else {}),
            )
        except Unsendable as error:
            raise BusError(ERROR + "InvalidArgs", f"{interface}.{member} was not called: {error}") from error
        if settle is not None:
            self._asked[serial] = _Asked(destination, self._owners.get(destination, ""), settle)
        self._transport.write(data, descriptors)

    def wants(self, header: Header) -> bool:
        """True if this replies to a pending call and was sent by its destination (or by the bus in its place)."""
        asked = self._asked.get(header.fields.reply_serial)
        if asked is None:
            return False
        owner = self._owners.get(asked.destination)
        return header.fields.sender in (DBUS[0], asked.destination, asked.owner, owner)

    def take(self, header: Header, data: bytes) -> None:
        """Complete the call that this replies to."""
        asked = self._asked.pop(header.fields.reply_serial, None)
        if asked is not None:
            asked.settle(header, data)

    def _lost(self) -> None:
        """Complete all calls without a reply: the connection to the bus is lost."""
        asked, self._asked = self._asked, {}
        for item in asked.values():
            item.settle(None, b"")


def _values(what: str, header: Header, data: bytes, *, signatures: bool) -> list[Any]:
    """Unmarshal the body of a reply. Raises BusError, also for an error reply."""
    try:
        body = read(header.order, header.fields.signature, data, signatures=signatures)
    except Unreadable as error:
        raise BusError(ERROR + "InvalidArgs", f"{what}: the reply cannot be read: {error}") from error
    if header.kind == ERROR_REPLY:
        name = header.fields.error_name
        raise BusError(name, body[0] if body and isinstance(body[0], str) else name)
    return body
