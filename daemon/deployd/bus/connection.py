"""The D-Bus connection: calls with deadlines, signals from the owner of a name only, and serving method calls.

dbus-next (0.2.3) opens the socket, writes to it and marshals values. Its reader is not used: it reads all pending data
in one iteration of the event loop, unmarshals every message in Python and closes the connection at the first message
that it does not understand, so any client of the bus could keep the daemon busy or disconnect it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from dbus_next import MessageType, NameFlag, RequestNameReply

from deployd.bus import wire
from deployd.bus.answers import answer, refusal
from deployd.bus.bodies import Unsendable, marshal, read
from deployd.bus.callers import Call, Callers
from deployd.bus.calls import Calls
from deployd.bus.credentials import KnownCredentials
from deployd.bus.messages import DBUS, ERROR, LIMITS_EXCEEDED, BusError, Credentials, Handler, Server
from deployd.bus.subscriptions import Subscription, Subscriptions, of_owner
from deployd.bus.transport import Transport, unreachable

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10.0


class Bus:
    """One connection to a message bus. Create it with :meth:`connect`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stream = wire.Stream(self._wants)
        self._subscriptions = Subscriptions()
        self._calls = Calls(transport, self._subscriptions.owners)
        self._tracked: dict[str, asyncio.Future[None]] = {}
        self._credentials = KnownCredentials()
        self._callers: Callers | None = None
        self.name = ""
        """Unique name of this connection."""
        self.disconnected = transport.disconnected
        transport.start(self._stream, self._take)

    @classmethod
    async def connect(cls, address: str | None = None, timeout: float = 5.0) -> Bus:
        """Connect to the system bus, or to the bus at `address`. Raises Unreachable."""
        bus = cls(await Transport.connect(address, timeout))
        try:
            (bus.name,) = await bus.call(*DBUS, "Hello", timeout=timeout)
        except BusError as error:
            await bus.close()
            raise unreachable(address, error.message) from error
        return bus

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
        signatures: bool = False,
        descriptors: Sequence[int] = (),
    ) -> list[Any]:
        """Call a method and return the body of the reply, variants unwrapped.

        `descriptors` are files to send: a value of type ``h`` in the body is an index of them.

        `interactive`: the callee may have the user authenticate, for example with a password, before it replies.
        `signatures`: the values of an a{sv} are pairs of signature and value, which can be sent as they are.

        Raises BusError for an error reply, and if there is no reply within `timeout` seconds
        (org.freedesktop.DBus.Error.NoReply).
        """
        self._track(destination)  # replies are accepted from its owner only
        call = (path, interface, member, signature, body)
        return await self._calls.call(
            destination,
            call,
            timeout=timeout,
            interactive=interactive,
            signatures=signatures,
            descriptors=descriptors,
        )

    async def subscribe(
        self,
        name: str,
        handler: Handler,
        *,
        interface: str,
        member: str,
        signature: str,
        path: str = "",
        path_namespace: str = "",
        arg0: str = "",
        wanted: frozenset[str] | None = None,
    ) -> Callable[[], None]:
        """Have `handler` called for each signal that the current owner of `name` sends; return a function to stop that.

        Of an a{sv} in the body it gets the `wanted` keys, by default all. Signals of other senders or with another
        `signature` are dropped. Raises BusError.
        """
        found = Subscription(name, interface, member, signature, handler, path, path_namespace, arg0, wanted)
        return await self._subscribe(found)

    async def follow(self, name: str, handler: Callable[[str], None]) -> Callable[[], None]:
        """Have `handler` called with each new owner of `name` ("" for none); return a function to stop that.

        Raises BusError.
        """
        return await self._subscribe(of_owner(name, lambda signal: handler(signal.body[2])))

    def owner(self, name: str) -> str:
        """Return the unique name of the owner of `name`, which must have been subscribed to; "" if it has none."""
        return self._subscriptions.owners.get(name, "")

    async def _subscribe(self, subscription: Subscription) -> Callable[[], None]:
        waiting: set[asyncio.Future[Any]] = {self._track(subscription.name), self.disconnected}
        await asyncio.wait(waiting, timeout=DEFAULT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        self._subscriptions.add(subscription)
        try:
            await self.call(*DBUS, "AddMatch", "s", [subscription.rule])
        except BaseException:
            self._subscriptions.remove(subscription)
            raise

        def end() -> None:
            if self._subscriptions.remove(subscription):
                self._calls.ask(None, DBUS[0], (*DBUS[1:], "RemoveMatch", "s", [subscription.rule]))

        return end

    def _track(self, name: str) -> asyncio.Future[None]:
        """Start tracking the owner of `name`, once; the returned future is done when the owner is known.

        No change is missed, and none is overwritten by an older answer: the reply of GetNameOwner is used in its place
        in the stream, between the signals before and after it.
        """
        if name in self._tracked:
            return self._tracked[name]
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tracked[name] = known
        owners = self._subscriptions.owners
        if name == DBUS[0] or name.startswith(":"):
            owners[name] = name
            known.set_result(None)
            return known

        def settle(header: wire.Header | None, data: bytes) -> None:
            # An error reply means that the name has no owner.
            owner = read(header.order, "s", data)[0] if header is not None and header.kind == wire.RETURN else ""
            owners.setdefault(name, owner)
            known.set_result(None)

        following = of_owner(name, lambda signal: owners.update({name: signal.body[2]}))
        self._subscriptions.add(following)
        self._calls.ask(None, DBUS[0], (*DBUS[1:], "AddMatch", "s", [following.rule]))
        self._calls.ask(settle, DBUS[0], (*DBUS[1:], "GetNameOwner", "s", [name]))
        return known

    def emit(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        """Broadcast a signal. Log one that cannot be sent; do nothing when the connection is lost."""
        try:
            data = marshal(
                body,
                serial=self._transport.next_serial(),
                message_type=MessageType.SIGNAL,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
            )
        except Unsendable as error:
            log.error("the signal %s.%s was not sent: %s", interface, member, error)
            return
        self._transport.write(data)

    async def credentials(self, sender: str) -> Credentials:
        """Return the credentials of the connection with the unique name `sender`. Raises BusError."""
        known = self._credentials.get(sender)
        if known is None:
            (answer,) = await self.call(*DBUS, "GetConnectionCredentials", "s", [sender])
            known = self._credentials.add(sender, answer)
        return known

    def serve(self, server: Server) -> None:
        """Answer incoming method calls with `server`, which returns (signature, body) or raises.

        A DeploydError or BusError becomes its error reply; any other exception is logged as a bug. The calls of users
        other than root are limited, see `callers`.
        """

        def identify(sender: str, identified: Callable[[], None]) -> None:
            def settle(header: wire.Header | None, data: bytes) -> None:
                if header is not None and header.kind == wire.RETURN:
                    self._credentials.add(sender, read(header.order, "a{sv}", data)[0])
                identified()

            self._calls.ask(settle, DBUS[0], (*DBUS[1:], "GetConnectionCredentials", "s", [sender]))

        async def run(call: Call) -> None:
            data = await answer(self._transport.next_serial(), call, server)
            if not call.header.flags & wire.NO_REPLY_EXPECTED:
                self._transport.write(data)

        def refuse(header: wire.Header, why: str) -> None:
            self._transport.write(refusal(self._transport.next_serial(), header, LIMITS_EXCEEDED, why))

        self._callers = Callers(self._credentials, identify, run, refuse)

    async def request_name(self, name: str) -> None:
        """Acquire a well-known name. Raises BusError if another connection owns it."""
        (reply,) = await self.call(*DBUS, "RequestName", "su", [name, NameFlag.DO_NOT_QUEUE.value])
        if reply not in (RequestNameReply.PRIMARY_OWNER.value, RequestNameReply.ALREADY_OWNER.value):
            raise BusError(ERROR + "NameExists", f"another process owns {name}")

    async def close(self) -> None:
        """Disconnect, within a second."""
        await self._transport.close()

    def _take(self, header: wire.Header, body: bytes) -> None:
        try:
            if header.kind == wire.SIGNAL:
                self._subscriptions.deliver(header, body)
            elif header.kind != wire.CALL:
                self._calls.take(header, body)
            elif self._callers is not None:
                self._callers.offer(Call(header, body))
        except Exception:  # a bug, which must not affect the messages after this one
            log.exception("a message from %s was lost", header.fields.sender)

    def _wants(self, header: wire.Header) -> bool:
        """True if the body of this message is to be read, see Stream."""
        if header.kind == wire.SIGNAL:
            return self._subscriptions.wants(header.fields)
        if header.kind in (wire.RETURN, wire.ERROR):
            return self._calls.wants(header)
        return header.kind == wire.CALL and self._callers is not None and self._callers.wants(header)
