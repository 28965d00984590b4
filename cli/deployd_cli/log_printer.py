"""Prints the journal of an app, each line with the instance and the generation that wrote it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from deployd.errors import DeploydError, ExitStatus
from deployd_cli.chosen import Chosen
from deployd_cli.journal import Journal
from deployd_cli.output import message, paint_for, show
from deployd_cli.session import run
from deployd_cli.text.log import FIELDS, field, is_repeated, log_lines, origin

RECENT = 10.0
"""Seconds after which an invocation that the daemon does not know is not asked for again: it was removed with its
generation. The daemon may have seen a new one later than the journal."""

AT_A_TIME = 200
"""Invocations of one call, which may have 16 KiB."""


class LogPrinter:
    """`arguments` of journalctl select the entries; `lines` is the number of the newest ones to show, None for all."""

    def __init__(self, app: str, arguments: Sequence[str], lines: int | None, *, follow: bool) -> None:
        self._app = app
        self._names = Chosen.scope.journal
        self._arguments = [*Chosen.scope.option, f"--output-fields={','.join(FIELDS)}", *arguments]
        self._lines = lines
        self._follow = follow
        self._paint = paint_for(sys.stdout)
        self._generations: dict[str, int | None] = {}

    def print(self) -> int:
        """Print the entries and return the exit status."""
        if self._lines is not None and not self._follow:
            return self._print_newest(self._lines)
        lines = [] if self._lines is None else [f"--lines={self._lines}"]
        shown = False
        with Journal([*lines, *self._arguments]) as journal:
            for batch in journal.batches():
                shown |= self._show(batch)
            return self._status(journal, shown)

    def _print_newest(self, count: int) -> int:
        """Print the newest entries: how many journalctl has to return for them is not known before."""
        found: list[dict[str, Any]] = []
        with Journal(["--reverse", *self._arguments]) as journal:
            for batch in journal.batches():
                found += [entry for entry in batch if not is_repeated(self._app, entry, self._names)]
                if len(found) >= count:
                    break
            return self._status(journal, self._show(found[:count][::-1]))

    def _status(self, journal: Journal, shown: bool) -> int:
        if not shown and not journal.failed:
            message(f"{self._app}: the journal has no such entries that you may read")
        return ExitStatus.FAILED if journal.failed else 0

    def _show(self, batch: Iterable[dict[str, Any]]) -> bool:
        """Print these entries; return True if there was anything to print."""
        entries = [entry for entry in batch if not is_repeated(self._app, entry, self._names)]
        self._look_up(entries)
        for entry in entries:
            generation = self._generations.get(origin(self._app, entry, self._names).invocation)
            show(log_lines(self._app, entry, generation, self._paint, self._names))
        return bool(entries)

    def _look_up(self, entries: Iterable[dict[str, Any]]) -> None:
        """Ask the daemon for the generations of invocations that are new."""
        newest = {
            origin(self._app, entry, self._names).invocation: field(entry, "__REALTIME_TIMESTAMP") for entry in entries
        }
        unknown = sorted(newest.keys() - self._generations.keys() - {""})
        if not unknown:
            return
        found: dict[str, int] = {}
        for first in range(0, len(unknown), AT_A_TIME):
            asked = unknown[first : first + AT_A_TIME]
            try:
                found |= run(lambda client, asked=asked: client.generations_of(self._app, asked))  # type: ignore[misc]
            except DeploydError:
                return  # the lines are shown without; the next batch asks again
        old = (time.time() - RECENT) * 1e6
        gone = {item for item in unknown if newest[item].isdecimal() and int(newest[item]) < old}
        self._generations |= dict.fromkeys(gone) | found
