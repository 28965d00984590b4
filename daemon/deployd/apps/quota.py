"""Limits the work that the daemon does for unprivileged callers: anyone may query, and queries cost the caller nothing.

Work for root starts immediately. For any other user, one piece of work runs at a time, followed by a pause in
proportion; for all of them together, only a few run at a time. A few more wait for a limited time, others are refused.
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
"""Calls of one user that wait for their turn, including the one that is being worked on."""
LONGEST_WAIT = 20.0
"""Seconds that a call waits for its turn."""
LONGEST_WORK = 35.0
"""Seconds that a call waits for its answer once its turn has come; the command waits for 60 s."""

LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"


@dataclass(slots=True)
class _User:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    next_at: float = 0.0


class Quota:
    """Runs at most `at_once` pieces of work at a time. After one that took t seconds, the next one of the same user
    starts `pause` times t later at the earliest."""

    def __init__(self, at_once: int, pause: float) -> None:
        self._users: dict[int, _User] = {}
        self._at_once = asyncio.Semaphore(at_once)
        self._pause = pause

    async def run(self, caller: Caller, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` when it is the caller's turn. Raises BusError (LimitsExceeded) if that takes too long."""
        if caller.trusted:
            return await work()
        user = self._users.setdefault(caller.uid, _User())
        if user.waiting >= MOST_WAITING:
            raise _limit_exceeded(caller)
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
            raise _limit_exceeded(caller) from None
        began, doing = clock(), asyncio.ensure_future(self._limited(work))

        def done(task: asyncio.Task[T]) -> None:
            idle = not task.cancelled() and isinstance(task.exception(), NoAnswer)  # it only waited
            user.next_at = clock() if idle else clock() + self._pause * (clock() - began)
            user.turn.release()

        # A caller that disconnects does not end its turn: the threads of its work continue.
        doing.add_done_callback(done)
        done_in_time, _ = await asyncio.wait({doing}, timeout=LONGEST_WORK)
        if not done_in_time:
            raise _limit_exceeded(caller)
        return await doing

    async def _limited(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._at_once:
            return await work()

    def _forget_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        for uid, user in list(self._users.items()):
            if not user.waiting and not user.turn.locked() and user.next_at <= now:
                del self._users[uid]


def _limit_exceeded(caller: Caller) -> BusError:
    return BusError(
        LIMITS_EXCEEDED,
        f"deployd is busy with queries of user {caller.uid}, and limits those of unprivileged users; try again later,"
        " or as root",
    )
