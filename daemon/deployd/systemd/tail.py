"""The last lines in the journal of one invocation of a unit.

Two traps. When systemd reports the end of a process, its last output may still be in journald's socket; therefore
journald is asked to process it first (io.systemd.Journal.Synchronize, as `journalctl --sync` does; root only). And if
journald reads it after the process has ended, the entry has no _SYSTEMD_INVOCATION_ID, but it has the unit.
Of a user unit it has neither then, only what systemd said of the stream (SYSLOG_IDENTIFIER) and the user.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from deployd.model import unit_name
from deployd.model.scope import SYSTEM, JournalFields
from deployd.systemd.excerpt import excerpt, has_frames
from deployd.systemd.fields import LONGEST, harmless, text
from deployd.systemd.journal import open_journal
from deployd.systemd.notices import Account, Notice, account, is_managers, notice

log = logging.getLogger(__name__)

VARLINK = Path("/run/systemd/journal/io.systemd.journal")

LINES = 10
SEARCHED = 300
"""Lines in which the message of a stack is searched."""
MOST_READ = 500
"""Entries that are read in search of the wanted ones."""
MOST_NOTICES = 50
"""Messages of systemd that are read."""
CLOCK_STEP = 60.0
"""Seconds by which the wall clock may be set back while a process runs."""
SYNC_TIMEOUT = 2.0
READ_TIMEOUT = 3.0

T = TypeVar("T")


class ReadLines(Protocol):
    """Returns the last lines of an invocation, as :meth:`Tail.last` does. Never raises."""

    def __call__(
        self, invocation_id: str, unit: str = "", since: float | None = None
    ) -> Awaitable[tuple[str, ...]]: ...


class ReadAccount(Protocol):
    """Returns what the journal says of an invocation, as :meth:`Tail.account` does. Never raises."""

    def __call__(self, invocation_id: str, unit: str, since: float | None = None) -> Awaitable[Account]: ...


class Tail:
    """Reads the last lines from the journal. Never raises: they only complement the report of a failure."""

    def __init__(
        self,
        varlink: Path = VARLINK,
        open_it: Callable[[], Any] = open_journal,
        run: Callable[..., Awaitable[Any]] = asyncio.to_thread,
        names: JournalFields = SYSTEM.journal,
    ) -> None:
        """`run` calls a function in a thread; the function may take long."""
        self._names = names
        self._varlink = varlink
        self._open = open_it
        self._run = run

    async def last(
        self, invocation_id: str, unit: str = "", since: float | None = None, lines: int = LINES
    ) -> tuple[str, ...]:
        """Return the last lines of the processes of this invocation, oldest first, without systemd's own messages.

        Of long stacks those with the message. With `unit` and `since` (CLOCK_MONOTONIC seconds, the start of the
        invocation), entries without an invocation ID are included. Takes at most SYNC_TIMEOUT and READ_TIMEOUT seconds.
        """
        return (await self._ask(invocation_id, unit, since, lines)).lines

    async def account(self, invocation_id: str, unit: str, since: float | None = None) -> Account:
        """Return the last lines as :meth:`last` does, and what systemd has written about the invocation of `unit`."""
        return await self._ask(invocation_id, unit, since, LINES)

    async def before(self, invocation_id: str, unit: str) -> str:
        """Return the invocation of `unit` before this one, by what systemd has written; "" if it is not found."""

        def read(reader: Any, deadline: float) -> str:
            return _invocation_before(reader, invocation_id, unit, deadline, self._names)

        return await self._in_thread(read, "") if invocation_id else ""

    async def _ask(self, invocation_id: str, unit: str, since: float | None, lines: int) -> Account:
        def read(reader: Any, deadline: float) -> Account:
            written = _lines(_written(reader, invocation_id, unit, since, deadline, self._names), lines)
            reader.flush_matches()
            return account(reversed(list(_notices(reader, invocation_id, unit, deadline, self._names))), written)

        return await self._in_thread(read, Account()) if invocation_id else Account()

    async def _in_thread(self, read: Callable[[Any, float], T], otherwise: T) -> T:
        """Read the journal; return `otherwise` if that is not possible."""
        await self._sync()
        deadline = time.monotonic() + READ_TIMEOUT
        reading = asyncio.ensure_future(self._run(self._read, read, otherwise, deadline))
        done, _ = await asyncio.wait({reading}, timeout=READ_TIMEOUT)
        if not done:
            reading.cancel()
            log.warning("the journal could not be read within %g s", READ_TIMEOUT)
            return otherwise
        found: T = reading.result()
        return found

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

    def _read(self, read: Callable[[Any, float], T], otherwise: T, deadline: float) -> T:
        try:
            with self._open() as reader:
                reader.data_threshold = 8 * LONGEST
                return read(reader, deadline)
        except Exception as error:
            # The library raises OSError, ValueError and RuntimeError; a damaged journal must affect nothing else.
            log.warning("the journal could not be read: %s", error)
            return otherwise


def _invocation_before(reader: Any, invocation_id: str, unit: str, deadline: float, names: JournalFields) -> str:
    for field, value in {**names.of_manager, names.about_unit: unit}.items():
        reader.add_match(f"{field}={value}")
    reader.seek_tail()
    reached = False
    for _ in range(MOST_NOTICES):
        entry = reader.get_previous()
        if not entry or time.monotonic() > deadline:
            break
        found = text(entry.get(names.about_invocation)).replace("-", "")
        if reached and found not in ("", invocation_id):
            return found
        reached = reached or found == invocation_id
    return ""


def _notices(reader: Any, invocation_id: str, unit: str, deadline: float, names: JournalFields) -> Iterator[Notice]:
    """Yield the messages of systemd about the invocation, newest first."""
    reader.add_match(f"{names.about_invocation}={invocation_id}")
    reader.seek_tail()
    for _ in range(MOST_NOTICES):
        entry = reader.get_previous()
        if not entry or time.monotonic() > deadline:
            return
        if (found := notice(entry, unit, names)) is not None:
            yield found


def _written(
    reader: Any, invocation_id: str, unit: str, since: float | None, deadline: float, names: JournalFields
) -> Iterator[dict[str, Any]]:
    """Yield the entries of the invocation's processes, newest first."""
    # Messages of systemd between fork and exec, such as why the program cannot be executed, have INVOCATION_ID.
    for field in ("_SYSTEMD_INVOCATION_ID", names.about_invocation):
        reader.add_match(f"{field}={invocation_id}")
        reader.add_disjunction()
    if unit and since is not None:
        reader.add_match(f"{names.of_unit}={unit}")
        if not names.has_extra:
            reader.add_disjunction()
            for match in (f"SYSLOG_IDENTIFIER={_identifier(unit)}", f"_UID={names.owner}"):
                reader.add_match(match)
    # Not Reader.this_boot(): in a container the sandbox of a service hides the boot ID, a mount in /proc/sys.
    began = since or 0.0
    earliest = time.time() - (time.monotonic() - began) - CLOCK_STEP
    reader.seek_tail()
    for _ in range(MOST_READ):
        entry = reader.get_previous()
        if not entry or time.monotonic() > deadline:
            return
        found = text(entry.get("_SYSTEMD_INVOCATION_ID"))
        if found == invocation_id or (not found and _before_exec(entry, invocation_id, unit, names)):
            yield entry
        elif since is None or found or not _is_of(entry, unit, names):
            continue
        elif _monotonic(entry) >= began and _realtime(entry) >= earliest:
            yield entry


def _is_of(entry: dict[str, Any], unit: str, names: JournalFields) -> bool:
    """True if a process of the unit wrote the entry, as far as it says so."""
    written_by = text(entry.get(names.of_unit))
    if written_by or names.has_extra:
        return written_by == unit
    return text(entry.get("_UID")) == names.owner and text(entry.get("SYSLOG_IDENTIFIER")) == _identifier(unit)


def _identifier(unit: str) -> str:
    """Return SyslogIdentifier= of a unit: each instance has its own, commands of an app have the app's."""
    name = unit.removesuffix(".service")
    return name if "@" in name else unit_name.app(unit)


def _before_exec(entry: dict[str, Any], invocation_id: str, unit: str, names: JournalFields) -> bool:
    """True if systemd wrote this between fork and exec. Any user may write an entry with INVOCATION_ID."""
    named = text(entry.get(names.about_invocation)) == invocation_id and not is_managers(entry, names)
    return named and notice(entry, unit, names) is not None


def _lines(entries: Iterator[dict[str, Any]], most: int) -> tuple[str, ...]:
    """Return the lines to show; older ones than the last are only read if these may be part of a stack."""
    found: list[str] = []
    for entry in entries:
        found += reversed([harmless(line) for line in text(entry.get("MESSAGE")).split("\n") if line.strip()])
        if len(found) >= SEARCHED or (len(found) >= most and not has_frames(found[:most])):
            break
    return excerpt(found[:SEARCHED][::-1], most)


def _monotonic(entry: dict[str, Any]) -> float:
    stamp = entry.get("__MONOTONIC_TIMESTAMP")
    return float(stamp.timestamp.total_seconds()) if stamp is not None else 0.0


def _realtime(entry: dict[str, Any]) -> float:
    stamp = entry.get("__REALTIME_TIMESTAMP")
    return float(stamp.timestamp()) if stamp is not None else 0.0
