"""Reports what a rollout waits for, once it has waited for a while."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployd.alarm import Alarm
from deployd.model.event import Emit, EventName
from deployd.plan.waits import FOR_SYSTEMD, Wait

AFTER = 10.0
"""Seconds after which a wait is reported, once."""


class Waiting:
    """The waits of one app. `wake_after` has :meth:`update` called again in so many seconds at the latest.

    `lasted` is called every AFTER seconds of a wait for systemd, whose signal may have been lost.
    """

    def __init__(self, *, emit: Emit, wake_after: Callable[[float], None], lasted: Callable[[], None]) -> None:
        self._emit = emit
        self._wake_after = wake_after
        self._lasted = lasted
        self._due: dict[Wait, float] = {}
        self._reported: set[Wait] = set()

    def update(self, waits: dict[Wait, str], now: float) -> None:
        """Report those of `waits` that have lasted for AFTER. `now` is in CLOCK_MONOTONIC seconds."""
        self._due = {wait: self._due.get(wait, now + AFTER) for wait in waits}
        self._reported &= waits.keys()
        for wait, due in self._due.items():
            if now < due:
                if due < math.inf:
                    self._wake_after(due - now)
                continue
            if wait not in self._reported:
                self._reported.add(wait)
                fields = {"instance": wait.number, "generation": wait.generation, "reason": waits[wait]}
                self._emit(EventName.WAITING, fields)
            if wait.what in FOR_SYSTEMD:
                self._due[wait] = now + AFTER
                self._lasted()
                self._wake_after(0.0)
            else:  # deployd itself looks at the rest, and wakes for it
                self._due[wait] = math.inf

    @contextmanager
    def during(self, reason: str) -> Iterator[None]:
        """Report `reason`, a sentence, if the body takes longer than AFTER."""
        alarm = Alarm(lambda: self._emit(EventName.WAITING, {"reason": reason}))
        alarm.set(AFTER)
        try:
            yield
        finally:
            alarm.close()
