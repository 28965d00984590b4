"""When instances were ready, according to systemd's messages in the journal, independent of deployd. Pure.

Times are CLOCK_MONOTONIC seconds, like those of the load generator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Change(StrEnum):
    READY = "ready"
    STOPPING = "stopping"
    ENDED = "ended"  # expected or not


MESSAGES = {  # systemd/sd-messages.h, also in the catalog that journalctl -x shows
    "39f53479d3a045ac8e11786248231fbf": Change.READY,  # SD_MESSAGE_UNIT_STARTED: of Type=notify, after READY=1
    "de5b426a63be47a7b6ac3eaac82e2f6f": Change.STOPPING,  # SD_MESSAGE_UNIT_STOPPING
    "98e322203f7a4ed290d09fe03c09fe15": Change.ENDED,  # SD_MESSAGE_UNIT_PROCESS_EXIT: logged for failures only
    "7ad2d189f7e94e70a38c781354912448": Change.ENDED,  # SD_MESSAGE_UNIT_SUCCESS
    "d9b373ed55a64feb8242e02dbe79a49c": Change.ENDED,  # SD_MESSAGE_UNIT_FAILURE_RESULT
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A change of one invocation of an instance."""

    at: float
    instance: int
    invocation: str
    change: Change


def moments(journal: Iterable[str], app: str) -> list[Moment]:
    """Parse the changes of the app's instances from the lines of `journalctl --output=json`."""
    found = (_moment(json.loads(line), app) for line in journal if line.strip())
    return sorted((moment for moment in found if moment is not None), key=lambda moment: moment.at)


def _moment(entry: Mapping[str, Any], app: str) -> Moment | None:
    change = MESSAGES.get(entry.get("MESSAGE_ID", ""))
    unit = re.fullmatch(rf"{re.escape(app)}@(\d+)\.service", entry.get("UNIT", ""))
    if change is None or unit is None:
        return None
    if not entry.get("INVOCATION_ID"):  # a start skipped by a condition is logged as done
        return None
    return Moment(int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6, int(unit[1]), entry["INVOCATION_ID"], change)


@dataclass(frozen=True, slots=True)
class Timeline:
    moments: tuple[Moment, ...]

    @classmethod
    def of(cls, journal: Iterable[str], app: str) -> Timeline:
        return cls(tuple(moments(journal, app)))

    def levels(self) -> list[tuple[float, frozenset[str]]]:
        """Return the invocations that are ready from each moment on; before the first there are none."""
        ready: set[str] = set()
        found = []
        for moment in self.moments:
            (ready.add if moment.change is Change.READY else ready.discard)(moment.invocation)
            found.append((moment.at, frozenset(ready)))
        return found

    def ready_at(self, when: float) -> frozenset[str]:
        """Return the invocations that were ready at a time."""
        return next((ready for at, ready in reversed(self.levels()) if at <= when), frozenset())

    def floor(self, start: float, end: float) -> int:
        """Return the smallest number of instances ready at a time from `start` to `end`."""
        within = [len(ready) for at, ready in self.levels() if start < at < end]
        return min([len(self.ready_at(start)), *within])

    def started(self, start: float, end: float) -> list[int]:
        """Return the instances that became ready, in order."""
        return [moment.instance for moment in self._within(start, end) if moment.change is Change.READY]

    def replaced(self, start: float, end: float) -> list[int]:
        """Return the instances that were ready at `start` and stopped or ended, in order."""
        serving = set(self.ready_at(start))
        gone = []
        for moment in self._within(start, end):
            if moment.change is not Change.READY and moment.invocation in serving:
                serving.remove(moment.invocation)
                gone.append(moment.instance)
        return gone

    def _within(self, start: float, end: float) -> Iterable[Moment]:
        return (moment for moment in self.moments if start < moment.at < end)
