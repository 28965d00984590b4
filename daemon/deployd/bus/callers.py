"""Lets method calls in, user by user: whoever floods the daemon waits for itself, not others for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from deployd.bus.admission import AT_ONCE, RATE, REFUSALS, Allowance, Bucket
from deployd.bus.wire import NO_REPLY_EXPECTED, Header

MOST_BODY = 16 << 10
"""Bytes of a method call's body. The longest that one of ours needs is a path of 4096."""

BYTES_OF_ONE = 1024
"""A call counts for one, and for one more with each so many bytes of its body."""

MOST_UNKNOWN, CALLS_OF_UNKNOWN, BYTES_OF_UNKNOWN = 1024, 64, 64 << 10
"""Connections whose user is being asked for, and how many calls of each wait meanwhile, and how many bytes."""

MOST_KNOWN = 1024
"""Connections whose user is remembered, the oldest forgotten first."""

LONGEST_LOOKUP = 10.0
"""Seconds that calls wait for the bus to name their user; then they are refused."""

TOO_MANY = f"too many calls of this user: {RATE:g} a second and {AT_ONCE} at once are answered"

UNLIMITED = frozenset({0, os.getuid()})
"""Root, and the daemon's own user."""


class Call(NamedTuple):
    """A method call as it arrived."""

    header: Header
    body: bytes


class Callers:
    """`identify` passes the uid behind a connection to a function (None if the bus does not know it), `run` answers a
    call, `refuse` sends an error."""

    def __init__(
        self,
        identify: Callable[[str, Callable[[int | None], None]], None],
        run: Callable[[Call], Awaitable[None]],
        refuse: Callable[[Header, str], None],
    ) -> None:
        self._identify, self._run, self._refuse = identify, run, refuse
        self._users: dict[str, int] = {}
        self._loop = asyncio.get_running_loop()
        self._allowances: dict[int, Allowance[Call]] = {}
        self._unknown: dict[str, list[Call]] = {}
        self._strangers = Bucket(REFUSALS, REFUSALS)
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def wants(self, header: Header) -> bool:
        """True if the body of this call is to be read."""
        uid = self._users.get(header.fields.sender)
        if header.length > MOST_BODY:
            self._deny(header, f"a call may have a body of at most {MOST_BODY} bytes, not {header.length}")
        elif uid is not None and uid not in UNLIMITED and self._allowance(uid).full:
            self._deny(header, TOO_MANY)
        else:
            return True
        return False

    def offer(self, call: Call) -> None:
        """Answer a call: now, in its turn, or with a refusal."""
        sender = call.header.fields.sender
        uid = self._users.get(sender)
        if uid is not None:
            self._admit(uid, call)
        elif (waiting := self._unknown.get(sender)) is not None:
            if len(waiting) < CALLS_OF_UNKNOWN and sum(len(item.body) for item in waiting) < BYTES_OF_UNKNOWN:
                waiting.append(call)
            else:
                self._deny(call.header, "too many calls before it was known whose they are")
        elif len(self._unknown) < MOST_UNKNOWN:
            self._unknown[sender] = [call]
            timer = self._loop.call_later(LONGEST_LOOKUP, self._identified, sender, None)

            def told(uid: int | None) -> None:
                timer.cancel()
                self._identified(sender, uid)

            self._identify(sender, told)
        else:
            self._deny(call.header, "too many new connections")

    def _identified(self, sender: str, uid: int | None) -> None:
        calls = self._unknown.pop(sender, [])
        if uid is not None:
            if len(self._users) >= MOST_KNOWN:
                self._users.pop(next(iter(self._users)))
            self._users[sender] = uid
        for call in calls:
            if uid is None:  # it has left the bus, or the bus is slow to answer
                self._deny(call.header, "the bus does not tell whose call it is")
            elif self.wants(call.header):  # by what is known now
                self._admit(uid, call)

    def _admit(self, uid: int, call: Call) -> None:
        if uid in UNLIMITED:
            self._spawn(self._run(call))
        else:
            # A body of 16 KiB may take 12 ms to unmarshal.
            self._allowance(uid).offer(call, 1 + call.header.length / BYTES_OF_ONE)
            self._advance(uid)

    def _allowance(self, uid: int) -> Allowance[Call]:
        allowance = self._allowances.get(uid)
        if allowance is None:
            allowance = self._allowances[uid] = Allowance()
        return allowance

    def _advance(self, uid: int) -> None:
        """Begin those calls of a user whose turn it is."""
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
        uid, now = self._users.get(header.fields.sender), self._loop.time()
        may = self._strangers.take(now) if uid is None else uid in UNLIMITED or self._allowance(uid).may_refuse(now)
        if may:
            self._refuse(header, why)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
