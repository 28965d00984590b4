"""Checks the files of all apps, of which there may be thousands, one after another in a single thread.

If the check of one app hangs, its thread is abandoned and another one continues with the next app. Later sweeps skip
that app until its check has ended, so an app never occupies more than one thread here.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

from deployd.errors import DeploydError, NoAnswer, Refused
from deployd.files.workers import DEADLINE, no_answer

T = TypeVar("T")


class Sweep:
    """Repeated sweeps over the same names."""

    def __init__(self, deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._hung: set[str] = set()

    async def over(self, names: Iterable[str], check: Callable[[str], T]) -> dict[str, T | DeploydError]:
        """Call `check` with each name; return a map of names to results, or to the DeploydError that was raised."""
        left = deque(names)
        found: dict[str, T | DeploydError] = {}
        for name in self._hung.intersection(left):
            left.remove(name)
            found[name] = NoAnswer(no_answer(name, self._deadline))
        while left:
            thread = _Thread(check, left, found)
            thread.start()
            while (late := await thread.ended(self._deadline)) is not None:
                if thread.abandon(late):
                    self._hung.add(late)
                    thread.answered.add_done_callback(partial(self._answered, late))
                    found[late] = NoAnswer(no_answer(late, self._deadline))
                    break
        return found

    def _answered(self, name: str, _: asyncio.Future[None]) -> None:
        self._hung.discard(name)


class _Thread(Generic[T]):
    """Processes the names in `left` until it is abandoned, which leaves the rest to another thread."""

    def __init__(self, check: Callable[[str], T], left: deque[str], found: dict[str, T | DeploydError]) -> None:
        self._check, self._left, self._found = check, left, found
        self._loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[None] = self._loop.create_future()
        """Done when the thread ends."""
        self._lock = threading.Lock()
        self._name: str | None = None
        self._abandoned = False
        self._since = time.monotonic()

    def start(self) -> None:
        threading.Thread(target=self._work, name="sweep", daemon=True).start()

    async def ended(self, deadline: float) -> str | None:
        """Wait for the end of the thread and return None; or return the name it has been checking for `deadline` s."""
        while not self.answered.done():
            name, since = self._name, self._since
            await asyncio.wait({self.answered}, timeout=max(0.0, since + deadline - time.monotonic()))
            if name is not None and name == self._name and time.monotonic() >= since + deadline:
                return name
        return None

    def abandon(self, name: str) -> bool:
        """Have the thread end after `name` and drop that result; False if it has finished `name` already."""
        with self._lock:
            self._abandoned = self._name == name
            return self._abandoned

    def _work(self) -> None:
        with contextlib.suppress(IndexError):  # no names are left
            while True:
                with self._lock:
                    self._name, self._since = (name := self._left.popleft()), time.monotonic()
                try:
                    result: T | DeploydError = self._check(name)
                except DeploydError as error:
                    result = error
                except Exception as error:
                    result = Refused(f"{name} cannot be checked: {type(error).__name__}: {error}")
                with self._lock:
                    if self._abandoned:
                        break  # too late
                    self._found[name] = result
                    self._name = None
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon has ended
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self.answered.done():
            self.answered.set_result(None)


class Shared(Generic[T]):
    """Shares runs of `make` between callers, one run at a time; each caller gets the result of a run begun after its
    call."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._run: asyncio.Task[T] | None = None

    async def get(self) -> T:
        before = self._run
        if before is not None:
            await asyncio.wait({before})
        if self._run is None or self._run is before:
            self._run = asyncio.ensure_future(self._make())
        return await asyncio.shield(self._run)
