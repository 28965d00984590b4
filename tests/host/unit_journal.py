"""Entries of PID 1 in the journal about the instances of an app: a view of a rollout independent of deployd.

PID 1 writes to one socket, so the order of its entries is that of the events. Times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.host.machine import Machine


class What(StrEnum):
    """A change of a unit, by the MESSAGE_ID of its journal entry (sd-messages.h)."""

    STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
    STARTED = "39f53479d3a045ac8e11786248231fbf"
    """For a notify service, READY=1 has arrived."""
    STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
    STOPPED = "9d1aaa27d60140bd96365438aad20286"
    EXITED = "98e322203f7a4ed290d09fe03c09fe15"
    """A process ended unexpectedly, or with a failure."""
    RESTARTING = "5eb03494b6584870a536b337290809b3"
    """systemd has scheduled an automatic restart."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry about `APP@instance.service`."""

    instance: int
    what: What
    at: float


class UnitJournal:
    """The journal of PID 1 since this object was created."""

    def __init__(self, machine: Machine, app: str) -> None:
        self._machine = machine
        self._instance = re.compile(re.escape(app) + r"@([0-9]+)\.service")
        self._after = self.here()

    def here(self) -> str:
        """Return the cursor of the newest entry."""
        self._machine.run(["journalctl", "--sync"])
        shown = self._machine.run(["journalctl", "--lines=0", "--show-cursor"]).stdout
        return shown.partition("-- cursor: ")[2].strip()

    def restart(self) -> None:
        """Ignore all entries so far."""
        self._after = self.here()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Return all entries of the journal, oldest first."""
        self._machine.run(["journalctl", "--sync"])
        # Without matches, because with some journalctl 252 skips the first of them, even if it is after the cursor.
        argv = ["journalctl", "--output=json", f"--after-cursor={self._after}"]
        return map(json.loads, self._machine.run(argv).stdout.splitlines())

    def of_systemd(self) -> list[dict[str, Any]]:
        """Return the entries of PID 1."""
        return [entry for entry in self.entries() if entry.get("_PID") == "1"]

    def of_deployd(self) -> list[str]:
        """Return the messages of the daemon."""
        return [entry["MESSAGE"] for entry in self.entries() if entry.get("_SYSTEMD_UNIT") == "deployd.service"]

    def changes(self) -> list[Change]:
        """Return the changes of the instances, in order."""
        found = []
        for entry in self.of_systemd():
            unit = self._instance.fullmatch(entry.get("UNIT", ""))
            if unit and entry.get("MESSAGE_ID", "") in list(What):
                at = int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
                found.append(Change(int(unit[1]), What(entry["MESSAGE_ID"]), at))
        return found

    def daemon_reloads(self) -> int:
        """Return the number of daemon-reloads."""
        return sum(
            re.match(r"Reloading\.(\.\.)?$", entry.get("MESSAGE", "")) is not None for entry in self.of_systemd()
        )


def capacity(changes: Iterable[Change], ready: Iterable[int]) -> list[int]:
    """Return the number of running instances after each change, beginning with the number before."""
    up = set(ready)
    counts = [len(up)]
    for change in changes:
        if change.what is What.STARTED:
            up.add(change.instance)
        elif change.what in (What.STOPPING, What.EXITED, What.STOPPED):
            up.discard(change.instance)
        counts.append(len(up))
    return counts
