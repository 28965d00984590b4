"""Bounds the work that unprivileged callers may have done: everyone may ask, and asking costs nothing.

Root's work is done at once. Of another user one piece is done at a time, with a pause after it in proportion, and of
all of them together only so many; a few more wait for a limited time, and what is beyond that is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from deployd.apps.caller import Caller
from deployd.bus import BusError
from deployd.errors import NoAnswer

T = TypeVar("T")

MOST_WAITING = 4
"""Calls of one user that wait for their turn, the one being worked on included."""
LONGEST_WAIT = 20.0
"""Seconds that a call waits for its turn."""
LONGEST_WORK = 35.0
"""Seconds that a call waits for its answer from then on; the command waits for 60 s."""

LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"


@dataclass(slots=True)
class _User:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    next_at: float = 0.0


class Quota:
    """At most `at_once` pieces of work at a time. After one that took t seconds, the next one of the same user is not
    begun for `pause` times t."""

    def __init__(self, at_once: int, pause: float) -> None:
        self._users: dict[int, _User] = {}
        self._at_once = asyncio.Semaphore(at_once)
        self._pause = pause

    async def run(self, caller: Caller, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do `work` when it is the caller's turn.

        Raises BusError (LimitsExceeded) when that would take too long.
        """
        if caller.root:
            return await work()
        user = self._users.setdefault(caller.uid, _User())
        if user.waiting >= MOST_WAITING:
            raise _too_much(caller)
        user.waiting += 1
        try:
            return await self._in_turn(caller, user, work)
        finally:
            user.waiting -= 1
            self._forget_idle()

    async def _in_turn(self, caller: Caller, user: _User, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await user.turn.acquire()
                try:
                    await asyncio.sleep(user.next_at - clock())
                except BaseException:
                    user.turn.release()
                    raise
        except TimeoutError:
            raise _too_much(caller) from None
        began, doing = clock(), asyncio.ensure_future(self._do(work))

        def done(task: asyncio.Task[T]) -> None:
            idle = not task.cancelled() and isinstance(task.exception(), NoAnswer)  # it has only waited
            user.next_at = clock() if idle else clock() + self._pause * (clock() - began)
            user.turn.release()

        # Not when the caller goes away: threads go on, and must not be joined by more.
        doing.add_done_callback(done)
        done_in_time, _ = await asyncio.wait({doing}, timeout=LONGEST_WORK)
        if not done_in_time:
            raise _too_much(caller)
        return await doing

    async def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._at_once:
            return await work()

    def _forget_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        for uid, user in list(self._users.items()):
            if not user.waiting and not user.turn.locked() and user.next_at <= now:
                del self._users[uid]


def _too_much(caller: Caller) -> BusError:
    return BusError(
        LIMITS_EXCEEDED,
        f"deployd works for user {caller.uid} already, and answers only so many questions of an unprivileged user at a"
        " time; try again later, or ask as root",
    )
