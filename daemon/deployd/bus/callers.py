"""Admits incoming method calls per user: calls of a user that floods the daemon delay only that user's own calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from deployd.bus.admission import AT_ONCE, RATE, REFUSALS, Allowance, Bucket
from deployd.bus.credentials import KnownCredentials
from deployd.bus.wire import NO_REPLY_EXPECTED, Header

MOST_BODY = 16 << 10
"""Bytes of a method call's body. The longest argument of org.deployd1 is a path of 4096 bytes."""

BYTES_OF_ONE = 1024
"""A call costs one token, and one more for each BYTES_OF_ONE bytes of its body."""

MOST_UNKNOWN, CALLS_OF_UNKNOWN, BYTES_OF_UNKNOWN = 1024, 64, 64 << 10
"""Connections whose user is being looked up, and the calls and the bytes of their bodies that each may queue."""

LONGEST_LOOKUP = 10.0
"""Seconds that calls wait for the bus to return the credentials of their sender before they are refused."""

TOO_MANY = f"too many calls from this user: at most {RATE:g} per second and {AT_ONCE} at a time are answered"

UNLIMITED = frozenset({0, os.getuid()})
"""User IDs without a limit: root, and the daemon's own user."""


class Call(NamedTuple):
    """A method call, its body not yet unmarshalled."""

    header: Header
    body: bytes


class Callers:
    """The incoming calls of all users.

    `identify` has the credentials of a connection added to `known`, if the bus returns any, and then calls a function;
    `run` answers a call; `refuse` sends an error reply.
    """

    def __init__(
        self,
        known: KnownCredentials,
        identify: Callable[[str, Callable[[], None]], None],
        run: Callable[[Call], Awaitable[None]],
        refuse: Callable[[Header, str], None],
    ) -> None:
        self._known, self._identify, self._run, self._refuse = known, identify, run, refuse
        self._loop = asyncio.get_running_loop()
        self._allowances: dict[int, Allowance[Call]] = {}
        self._unknown: dict[str, list[Call]] = {}
        self._strangers = Bucket(REFUSALS, REFUSALS)
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def wants(self, header: Header) -> bool:
        """True if the body of this call is to be read."""
        uid = self._known.uid(header.fields.sender)
        if header.length > MOST_BODY:
            self._deny(header, f"the body of a call may be at most {MOST_BODY} bytes long, not {header.length}")
        elif uid is not None and uid not in UNLIMITED and self._allowance(uid).full:
            self._deny(header, TOO_MANY)
        else:
            return True
        return False

    def offer(self, call: Call) -> None:
        """Answer a call: at once, in its turn, or with an error."""
        sender = call.header.fields.sender
        uid = self._known.uid(sender)
        if uid is not None:
            self._admit(uid, call)
        elif (waiting := self._unknown.get(sender)) is not None:
            if len(waiting) < CALLS_OF_UNKNOWN and sum(len(item.body) for item in waiting) < BYTES_OF_UNKNOWN:
                waiting.append(call)
            else:
                self._deny(call.header, "too many calls while the caller's credentials are being looked up")
        elif len(self._unknown) < MOST_UNKNOWN:
            self._unknown[sender] = [call]
            timer = self._loop.call_later(LONGEST_LOOKUP, self._identified, sender)

            def identified() -> None:
                timer.cancel()
                self._identified(sender)

            self._identify(sender, identified)
        else:
            self._deny(call.header, "too many new connections")

    def _identified(self, sender: str) -> None:
        """Admit or refuse the calls that waited for the credentials of their sender."""
        uid = self._known.uid(sender)
        for call in self._unknown.pop(sender, []):
            if uid is None:  # the sender has left the bus, or the bus is slow to answer
                self._deny(call.header, "the bus does not report the caller's credentials")
            elif self.wants(call.header):  # the limits of this user apply now
                self._admit(uid, call)

    def _admit(self, uid: int, call: Call) -> None:
        if uid in UNLIMITED:
            self._spawn(self._run(call))
        else:
            # Longer bodies cost more because 16 KiB may take 12 ms to unmarshal.
            self._allowance(uid).offer(call, 1 + call.header.length / BYTES_OF_ONE)
            self._advance(uid)

    def _allowance(self, uid: int) -> Allowance[Call]:
        allowance = self._allowances.get(uid)
        if allowance is None:
            allowance = self._allowances[uid] = Allowance()
        return allowance

    def _advance(self, uid: int) -> None:
        """Begin the calls of a user that its limits allow now."""
        allowance, now = self._allowances[uid], self._loop.time()
        while (call := allowance.take(now)) is not None:
            self._spawn(self._run(call)).add_done_callback(lambda _: self._ended(uid))
        wait = allowance.wait(now)
        if wait is not None and uid not in self._timers:
            self._timers[uid] = self._loop.call_later(wait, self._due, uid)

    def _due(self, uid: int) -> None:
        del self._timers[uid]
        self._advance(uid)

    def _ended(self, uid: int) -> None:
        self._allowances[uid].ended()
        self._advance(uid)

    def _deny(self, header: Header, why: str) -> None:
        """Refuse a call. Send no error if the caller expects no reply or the limit of refusals is reached."""
        if header.flags & NO_REPLY_EXPECTED:
            return
        uid, now = self._known.uid(header.fields.sender), self._loop.time()
        may = self._strangers.take(now) if uid is None else uid in UNLIMITED or self._allowance(uid).may_refuse(now)
        if may:
            self._refuse(header, why)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
