"""Runs calls to file systems of apps in threads, because a file system may never respond (a network mount whose server
is gone) and must not block the event loop.

Each call has a deadline, and a thread of its own while it lasts. A thread that hangs cannot be ended. It stays behind
as a daemon thread, which does not keep the process from exiting, and occupies one of the few places of its app; other
apps have places of their own. Threads whose calls have ended are used again: to start one blocks the event loop until
it runs, which costs more than most of the calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from deployd.errors import NoAnswer, StateError

DEADLINE = 10.0
"""Seconds for checks of a few paths."""
LONG = 60.0
"""Seconds for reading the tree of a whole release."""
PLACES = 4
"""Threads of one app at a time, including those that hang."""
KEPT = 2
"""Threads that wait for another call. Waiting costs no wake-ups."""

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

    def work() -> Callable[[], None]:
        try:
            result = call(*arguments)
        except BaseException as error:
            outcome, value = future.set_exception, error
            set_outcome: Callable[[], None] = lambda: outcome(value)  # noqa: E731 - the name of `error` ends here
        else:
            set_outcome = lambda: future.set_result(result)  # noqa: E731

        def report() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon has ended
                loop.call_soon_threadsafe(ended, set_outcome)

        return report

    try:
        _Thread.with_work(work)
    except RuntimeError as error:
        places.free.release()
        raise StateError(
            f"no thread can be started to check files: {error}; see TasksMax= of deployd.service"
        ) from None
    return future


class _Thread:
    """A thread that does one piece of work after another. Each returns the function that reports its end."""

    _idle: ClassVar[list[_Thread]] = []
    """Threads that wait for work, of all apps: one that hangs is not among them."""
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Callable[[], None]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="file-system", daemon=True).start()

    @classmethod
    def with_work(cls, work: Callable[[], Callable[[], None]]) -> None:
        """Have a waiting thread do the work, or a new one. Raises RuntimeError if none can be started."""
        with cls._lock:
            thread = cls._idle.pop() if cls._idle else None
        (thread or cls())._work.put(work)

    def _run(self) -> None:
        while True:
            report = self._work.get()()
            with self._lock:
                if waits := len(self._idle) < KEPT:
                    self._idle.append(self)  # before the report, so that the next call finds it
            report()
            del report  # with what the call has returned
            if not waits:
                return
