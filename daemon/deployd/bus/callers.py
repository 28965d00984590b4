"""Lets method calls in, user by user: whoever floods the daemon waits for itself, not others for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployd.bus.admission import AT_ONCE, RATE, REFUSALS, Allowance, Bucket
from deployd.bus.messages import BusError, Credentials
from deployd.bus.wire import NO_REPLY_EXPECTED, Header

MOST_BODY = 16 << 10
"""Bytes of a method call's body. The longest that one of ours needs is a path of 4096."""

MOST_UNKNOWN, CALLS_OF_UNKNOWN, BYTES_OF_UNKNOWN = 1024, 64, 64 << 10
"""Connections whose user is being asked for, and how many calls of each wait meanwhile, and how many bytes."""

UNLIMITED = frozenset({0, os.getuid()})
"""Root, and the daemon's own user."""


@dataclass(frozen=True, slots=True)
class Call:
    """A method call as it arrived."""

    header: Header
    body: bytes


class Callers:
    """`known` and `identify` tell the user behind a connection, `run` answers a call, `refuse` says no to one."""

    def __init__(
        self,
        known: Callable[[str], Credentials | None],
        identify: Callable[[str], Awaitable[Credentials]],
        run: Callable[[Call], Awaitable[None]],
        refuse: Callable[[Header, str], None],
    ) -> None:
        self._known, self._identify = known, identify
        self._run, self._refuse = run, refuse
        self._loop = asyncio.get_running_loop()
        self._allowances: dict[int, Allowance[Call]] = {}
        self._unknown: dict[str, list[Call]] = {}
        self._strangers = Bucket(REFUSALS, REFUSALS)
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def wants(self, header: Header) -> bool:
        """True if the body of this call is to be read."""
        if header.length <= MOST_BODY:
            return True
        self._deny(header, f"a call may have a body of at most {MOST_BODY} bytes, not {header.length}")
        return False

    def offer(self, call: Call) -> None:
        """Answer a call: now, in its turn, or with a refusal."""
        sender = call.header.fields.sender
        known = self._known(sender)
        if known is not None:
            self._admit(known.uid, call)
        elif (waiting := self._unknown.get(sender)) is not None:
            if len(waiting) < CALLS_OF_UNKNOWN and sum(len(item.body) for item in waiting) < BYTES_OF_UNKNOWN:
                waiting.append(call)
            else:
                self._deny(call.header, "too many calls before it was known whose they are")
        elif len(self._unknown) < MOST_UNKNOWN:
            self._unknown[sender] = [call]
            self._spawn(self._ask(sender))
        else:
            self._deny(call.header, "too many new connections")

    async def _ask(self, sender: str) -> None:
        try:
            uid = (await self._identify(sender)).uid
        except BusError as error:  # it has left the bus, or the bus is slow to answer
            for call in self._unknown.pop(sender):
                self._deny(call.header, f"the bus does not tell whose call it is: {error.message}")
            return
        for call in self._unknown.pop(sender):
            self._admit(uid, call)

    def _admit(self, uid: int, call: Call) -> None:
        if uid in UNLIMITED:
            self._spawn(self._run(call))
            return
        allowance = self._allowance(uid)
        if allowance.offer(call):
            self._advance(uid)
        else:
            self._deny(
                call.header, f"too many calls of user {uid}: {RATE:g} a second and {AT_ONCE} at once are answered"
            )

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
        """Refuse a call, unless nobody waits for the answer or many were refused just now."""
        if header.flags & NO_REPLY_EXPECTED:
            return
        known = self._known(header.fields.sender)
        now = self._loop.time()
        if known is None:
            may = self._strangers.take(now)
        else:
            may = known.uid in UNLIMITED or self._allowance(known.uid).may_refuse(now)
        if may:
            self._refuse(header, why)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
