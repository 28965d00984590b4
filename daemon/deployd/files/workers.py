"""Runs calls to file systems of apps in threads, for a file system may never answer (a network mount whose server is
gone) and the event loop waits for no app.

Each call has a thread of its own and a deadline. A thread that hangs cannot be ended; it is left behind as a daemon
thread, which does not keep the process from ending, and it takes one of the few places of its app. Other apps have
places of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from deployd.errors import NoAnswer, StateError

DEADLINE = 10.0
"""Seconds for a look at a few paths."""
LONG = 60.0
"""Seconds for a walk through a whole release."""
PLACES = 4
"""Threads of one app at a time, those that hang included."""

T = TypeVar("T")


def no_answer(app: str, deadline: float) -> str:
    return (
        f"a file system of {app} has not answered for {deadline:g} s; see that what its app file and release lie on is"
        " mounted and its server is up, then try again"
    )


class _Places:
    """Threads of one app."""

    def __init__(self, count: int) -> None:
        self.free = asyncio.Semaphore(count)
        self.given_up: set[asyncio.Future[Any]] = set()
        """Calls that have hung for longer than they may."""


class Workers:
    """Threads for the calls of all apps."""

    def __init__(self, places: int = PLACES) -> None:
        self._count = places
        self._of: dict[str, _Places] = {}

    async def run(self, app: str, call: Callable[..., T], *arguments: Any, deadline: float = DEADLINE) -> T:
        """The result of `call(*arguments)`. Raises what it raises, and NoAnswer after `deadline` seconds; at once if
        that is what became of all calls whose threads are left."""
        places = self._of.setdefault(app, _Places(self._count))
        if len(places.given_up) == self._count:
            raise NoAnswer(no_answer(app, deadline))
        started: asyncio.Future[T] | None = None
        try:
            async with asyncio.timeout(deadline) as limit:
                await places.free.acquire()
                started = _started(call, arguments, places)
                return await started
        except TimeoutError:
            if not limit.expired():
                raise
            if started is not None:
                places.given_up.add(started)
            raise NoAnswer(no_answer(app, deadline)) from None


def _started(call: Callable[..., T], arguments: tuple[Any, ...], places: _Places) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def ended(set_outcome: Callable[[], None]) -> None:
        places.free.release()
        places.given_up.discard(future)
        if not future.done():  # nobody waits any more
            set_outcome()

    def work() -> None:
        try:
            result = call(*arguments)
        except BaseException as error:
            outcome, value = future.set_exception, error
            set_outcome: Callable[[], None] = lambda: outcome(value)  # noqa: E731 - the name of `error` ends here
        else:
            set_outcome = lambda: future.set_result(result)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon has ended
            loop.call_soon_threadsafe(ended, set_outcome)

    try:
        threading.Thread(target=work, name="file-system", daemon=True).start()
    except RuntimeError as error:
        places.free.release()
        raise StateError(
            f"no thread can be started to look at files: {error}; see TasksMax= of deployd.service"
        ) from None
    return future
