"""The last lines in the journal of one invocation of a unit.

Two traps. When systemd reports the end of a process, its last output may still be in journald's socket; therefore
journald is asked to process it first (io.systemd.Journal.Synchronize, as `journalctl --sync` does; root only). And if
journald reads it after the process has ended, the entry has no _SYSTEMD_INVOCATION_ID, but it has the unit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from deployd.systemd.journal import open_journal

log = logging.getLogger(__name__)

VARLINK = Path("/run/systemd/journal/io.systemd.journal")

LINES = 10
LONGEST = 500
"""Characters of a line; longer lines are cut."""
MOST_READ = 500
"""Entries that are read in search of the wanted ones."""
CLOCK_STEP = 60.0
"""Seconds by which the wall clock may be set back while a process runs."""
SYNC_TIMEOUT = 2.0
READ_TIMEOUT = 3.0

# Colours and cursor movements (ECMA-48), and titles of windows.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


class ReadLines(Protocol):
    """Returns the last lines of an invocation, as :meth:`Tail.last` does. Never raises."""

    def __call__(
        self, invocation_id: str, unit: str = "", since: float | None = None
    ) -> Awaitable[tuple[str, ...]]: ...


class Tail:
    """Reads the last lines from the journal. Never raises: they only complement the report of a failure."""

    def __init__(
        self,
        varlink: Path = VARLINK,
        open_it: Callable[[], Any] = open_journal,
        run: Callable[..., Awaitable[tuple[str, ...]]] = asyncio.to_thread,
    ) -> None:
        """`run` calls a function in a thread; the function may take long."""
        self._varlink = varlink
        self._open = open_it
        self._run = run

    async def last(
        self, invocation_id: str, unit: str = "", since: float | None = None, lines: int = LINES
    ) -> tuple[str, ...]:
        """Return the last lines of the processes of this invocation, oldest first, without systemd's own messages.

        With `unit` and `since` (CLOCK_MONOTONIC seconds, the start of the invocation), entries without an invocation ID
        are included. Takes at most SYNC_TIMEOUT and READ_TIMEOUT seconds.
        """
        if not invocation_id:
            return ()
        await self._sync()
        deadline = time.monotonic() + READ_TIMEOUT
        reading = asyncio.ensure_future(
            self._run(self._read, invocation_id, unit if since is not None else "", since or 0, lines, deadline)
        )
        done, _ = await asyncio.wait({reading}, timeout=READ_TIMEOUT)
        if not done:
            reading.cancel()
            log.warning("the journal could not be read within %g s", READ_TIMEOUT)
            return ()
        return reading.result()

    async def _sync(self) -> None:
        """Have journald write everything that it has been sent."""
        writer = None
        try:
            async with asyncio.timeout(SYNC_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(self._varlink)
                writer.write(b'{"method":"io.systemd.Journal.Synchronize"}\0')
                answer = json.loads((await reader.readuntil(b"\0"))[:-1])
                if "error" in answer:
                    log.debug("journald refused to synchronize: %s", answer["error"])
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, TimeoutError) as error:
            # The journal is read nevertheless.
            log.debug("journald did not synchronize: %s", error or "no answer")
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def _read(self, invocation_id: str, unit: str, since: float, lines: int, deadline: float) -> tuple[str, ...]:
        try:
            with self._open() as reader:
                return _lines(_written(reader, invocation_id, unit, since, deadline), lines)
        except Exception as error:
            # The library raises OSError, ValueError and RuntimeError; a damaged journal must affect nothing else.
            log.warning("the journal could not be read: %s", error)
            return ()


def _written(reader: Any, invocation_id: str, unit: str, since: float, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the entries of the invocation, newest first."""
    reader.data_threshold = 8 * LONGEST
    # Messages of systemd between fork and exec, such as why the program cannot be executed, have INVOCATION_ID.
    for field in ("_SYSTEMD_INVOCATION_ID", "INVOCATION_ID"):
        reader.add_match(f"{field}={invocation_id}")
        reader.add_disjunction()
    if unit:
        reader.add_match(f"_SYSTEMD_UNIT={unit}")
    # Not Reader.this_boot(): in a container the sandbox of a service hides the boot ID, a mount in /proc/sys.
    earliest = time.time() - (time.monotonic() - since) - CLOCK_STEP
    reader.seek_tail()
    for _ in range(MOST_READ):
        entry = reader.get_previous()
        if not entry or time.monotonic() > deadline:
            return
        found = text(entry.get("_SYSTEMD_INVOCATION_ID"))
        named = invocation_id in (found, text(entry.get("INVOCATION_ID")))
        if named and entry.get("_PID") == 1:
            continue
        if named or (unit and not found and _monotonic(entry) >= since and _realtime(entry) >= earliest):
            yield entry


def _lines(entries: Iterator[dict[str, Any]], most: int) -> tuple[str, ...]:
    found: list[str] = []
    for entry in entries:
        found += reversed([harmless(line) for line in text(entry.get("MESSAGE")).split("\n") if line.strip()])
        if len(found) >= most:
            break
    return tuple(reversed(found[:most]))


def harmless(line: str) -> str:
    """Return a line of an application without characters that control a terminal or hide text."""
    line = _ESCAPES.sub("", line[: 4 * LONGEST]).expandtabs(4).rstrip()
    line = "".join(char if char.isprintable() else "�" for char in line)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def text(value: Any) -> str:
    """Return the value of a field as text. It is bytes if it is not UTF-8, and a list if the field occurs twice."""
    if isinstance(value, list):
        value = value[-1]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _monotonic(entry: dict[str, Any]) -> float:
    stamp = entry.get("__MONOTONIC_TIMESTAMP")
    return float(stamp.timestamp.total_seconds()) if stamp is not None else 0.0


def _realtime(entry: dict[str, Any]) -> float:
    stamp = entry.get("__REALTIME_TIMESTAMP")
    return float(stamp.timestamp()) if stamp is not None else 0.0
