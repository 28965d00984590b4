"""Runs calls to file systems of apps in threads, because a file system may never respond (a network mount whose server
is gone) and must not block the event loop.

Each call has a thread of its own and a deadline. A thread that hangs cannot be ended. It stays behind as a daemon
thread, which does not keep the process from exiting, and occupies one of the few places of its app; other apps have
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
"""Seconds for checks of a few paths."""
LONG = 60.0
"""Seconds for reading the tree of a whole release."""
PLACES = 4
"""Threads of one app at a time, including those that hang."""

T = TypeVar("T")


def no_answer(app: str, deadline: float) -> str:
    return (
        f"a file system of {app} has not responded for {deadline:g} s; check that the file systems of its app file and"
        " release are mounted and their server is up, then try again"
    )


class _Places:
    """Threads of one app."""

    def __init__(self, count: int) -> None:
        self.free = asyncio.Semaphore(count)
        self.given_up: set[asyncio.Future[Any]] = set()
        """Calls that have exceeded their deadline and still hang."""


class Workers:
    """Threads for the calls of all apps."""

    def __init__(self, places: int = PLACES) -> None:
        self._count = places
        self._of: dict[str, _Places] = {}

    async def run(self, app: str, call: Callable[..., T], *arguments: Any, deadline: float = DEADLINE) -> T:
        """Return the result of `call(*arguments)`. Raises what it raises, and NoAnswer after `deadline` seconds.

        NoAnswer is raised at once if all places of the app are occupied by calls that have exceeded their deadline.
        """
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
        if not future.done():  # else its caller has given up
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
            f"no thread can be started to check files: {error}; see TasksMax= of deployd.service"
        ) from None
    return future
