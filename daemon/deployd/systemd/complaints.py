"""Complaints of the processes of some invocations: their journal entries of priority err or worse.

The priority comes from a prefix such as "<3>" (sd-daemon(3)) or from SyslogLevel=; plain output has the priority info.
Messages of systemd about the unit count if they have that priority, such as that a program cannot be executed. Entries
without an invocation ID, which journald read after the process had ended, are not counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deployd.model.scope import SYSTEM, JournalFields
from deployd.systemd.fields import LONGEST, harmless, text
from deployd.systemd.journal import open_journal

log = logging.getLogger(__name__)

MOST = 10_000
"""The highest count."""
MOST_INVOCATIONS = 1000
"""The most invocations that are read. Of a generation with more restarts the oldest are left out."""
LINES = 3
TIMEOUT = 3.0
"""Seconds that one count may take; after that, it is returned as it is."""
ERR = 3


@dataclass(frozen=True, slots=True)
class Complaints:
    """The complaints of some invocations."""

    count: int = 0
    more: bool = False
    """There may be more than `count`: to read them would take too long, or they are too many."""
    last: tuple[str, ...] = ()
    """The newest lines, oldest first."""


NOT_READ = Complaints(more=True)


async def _in_thread(_app: str, call: Callable[..., Complaints], *arguments: Any) -> Complaints:
    return await asyncio.to_thread(call, *arguments)


class ComplaintCounter:
    """Counts complaints. Never raises."""

    def __init__(
        self,
        open_it: Callable[[], Any] = open_journal,
        run: Callable[..., Awaitable[Complaints]] = _in_thread,
        names: JournalFields = SYSTEM.journal,
    ) -> None:
        """`run` takes an app, a function and its arguments, and calls the function in a thread of that app."""
        self._open = open_it
        self._names = names
        self._run = run

    async def of(self, invocations: Sequence[str], app: str = "") -> Complaints:
        """Return the complaints of these invocations of an app; `invocations` with the oldest first."""
        wanted = [item for item in invocations if item][-MOST_INVOCATIONS:]
        if not wanted:
            return Complaints()
        deadline = time.monotonic() + TIMEOUT
        reading = asyncio.ensure_future(self._run(app, self._count, wanted, deadline))
        # Twice as long, because to open the journal or to read a single entry may take long. The thread ends later.
        done, _ = await asyncio.wait({reading}, timeout=2 * TIMEOUT)
        if not done:
            reading.cancel()
            log.warning("the journal could not be read within %g s", 2 * TIMEOUT)
            return NOT_READ
        return reading.result()

    def _count(self, invocations: Sequence[str], deadline: float) -> Complaints:
        try:
            with self._open() as reader:
                return _counted(reader, invocations, deadline, self._names)
        except Exception as error:
            # The library raises OSError, ValueError and RuntimeError; a damaged journal must affect nothing else.
            log.warning("the journal could not be read: %s", error)
            return NOT_READ


def _counted(reader: Any, invocations: Sequence[str], deadline: float, names: JournalFields) -> Complaints:
    reader.data_threshold = 8 * LONGEST
    # Matches of one field are joined by OR, those of different fields by AND (sd_journal_add_match(3)).
    for field in ("_SYSTEMD_INVOCATION_ID", names.about_invocation):
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
