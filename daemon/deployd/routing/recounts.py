"""When the kernel's counts of one app are corrected: what a killed process had in flight stays counted otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from deployd.model.instance import Instance

log = logging.getLogger(__name__)

RARELY = 100
"""How many times as long as a recount takes there is none."""
OFTEN = 300.0
"""Seconds after which it is time for a recount although no process is new."""


class Recounts:
    """`recount` corrects the counts and returns how many connections had ended unseen; it raises SteeringError."""

    def __init__(self, app: str, recount: Callable[[], int]) -> None:
        self._app = app
        self._recount = recount
        self._processes: dict[int, str] = {}
        """The invocation of each instance at the last recount."""
        self._done = self._not_before = 0.0

    def update(self, instances: Iterable[Instance] | None = None) -> float:
        """Recount if a process of these instances has started or ended since the last time, or after OFTEN. Return the
        seconds that this has to wait, so that it takes little time. Raises SteeringError."""
        processes = self._processes
        if instances is not None:
            processes = {item.number: item.invocation_id for item in instances}
        now = time.monotonic()
        if processes == self._processes and now < self._done + OFTEN:
            return 0
        if now < self._not_before:
            return self._not_before - now
        log.debug("%s: %d counted connections had ended", self._app, self._recount())
        self._processes, self._done = processes, now
        self._not_before = now + RARELY * (time.monotonic() - now)
        return 0
