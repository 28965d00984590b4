"""What the processes of some invocations complained of: journal entries of priority err or worse, and how many.

Priorities are syslog's (sd-daemon(3): a line that begins with "<3>", or SyslogLevel=): what a program just writes to
its stderr has the priority info. What systemd says of a unit counts where it is as bad (it could not be executed).
Entries that journald could not tell the invocation of, for the process was gone already, are not counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deployd.systemd.journal import open_journal
from deployd.systemd.tail import LONGEST, harmless, text

log = logging.getLogger(__name__)

MOST = 10_000
"""Entries that are counted."""
MOST_INVOCATIONS = 1000
"""The newest; of a generation that was restarted more often the oldest are left out."""
LINES = 3
TIMEOUT = 3.0
"""Seconds that one count may take; what was found by then is told."""
ERR = 3


@dataclass(frozen=True, slots=True)
class Complaints:
    """Of some invocations. `more`: there may be more than `count`, for that took too long or is too many."""

    count: int = 0
    more: bool = False
    last: tuple[str, ...] = ()
    """The newest lines, oldest first."""


NOT_READ = Complaints(more=True)


async def _in_thread(_app: str, call: Callable[..., Complaints], *arguments: Any) -> Complaints:
    return await asyncio.to_thread(call, *arguments)


class Complaining:
    """Counts. Nothing here raises."""

    def __init__(
        self, open_it: Callable[[], Any] = open_journal, run: Callable[..., Awaitable[Complaints]] = _in_thread
    ) -> None:
        """`run` takes an app, a function, and its arguments, and calls it in a thread of that app."""
        self._open = open_it
        self._run = run

    async def of(self, invocations: Sequence[str], app: str = "") -> Complaints:
        """What the processes of these invocations (oldest first) of an app complained of."""
        wanted = [item for item in invocations if item][-MOST_INVOCATIONS:]
        if not wanted:
            return Complaints()
        deadline = time.monotonic() + TIMEOUT
        reading = asyncio.ensure_future(self._run(app, self._count, wanted, deadline))
        # Twice: a single entry, or opening the journal, may take long; the thread then ends by itself.
        done, _ = await asyncio.wait({reading}, timeout=2 * TIMEOUT)
        if not done:
            reading.cancel()
            log.warning("the journal could not be read within %g s", 2 * TIMEOUT)
            return NOT_READ
        return reading.result()

    def _count(self, invocations: Sequence[str], deadline: float) -> Complaints:
        try:
            with self._open() as reader:
                return _counted(reader, invocations, deadline)
        except Exception as error:
            # The library says OSError, ValueError and RuntimeError; a broken journal must break nothing else.
            log.warning("the journal could not be read: %s", error)
            return NOT_READ


def _counted(reader: Any, invocations: Sequence[str], deadline: float) -> Complaints:
    reader.data_threshold = 8 * LONGEST
    # Of one field any, of several fields each (sd_journal_add_match(3)).
    for field in ("_SYSTEMD_INVOCATION_ID", "INVOCATION_ID"):
        for invocation in invocations:
            reader.add_match(f"{field}={invocation}")
        for priority in range(ERR + 1):
            reader.add_match(f"PRIORITY={priority}")
        reader.add_disjunction()
    reader.seek_tail()
    count, last = 0, list[str]()
    while entry := reader.get_previous():
        if count == MOST or time.monotonic() > deadline:
            return Complaints(count, True, tuple(reversed(last)))
        count += 1
        if len(last) < LINES:
            lines = [harmless(line) for line in text(entry.get("MESSAGE")).split("\n") if line.strip()]
            last += lines[::-1][: LINES - len(last)]
    return Complaints(count, False, tuple(reversed(last)))
