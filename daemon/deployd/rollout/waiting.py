"""Reports what a rollout waits for, once it has waited for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployd.alarm import Alarm
from deployd.model.event import Emit, EventName
from deployd.plan.waits import Wait

AFTER = 10.0
"""Seconds after which a wait is reported, once."""


class Waiting:
    """The waits of one app. `wake_after` has :meth:`update` called again in so many seconds at the latest."""

    def __init__(self, *, emit: Emit, wake_after: Callable[[float], None]) -> None:
        self._emit = emit
        self._wake_after = wake_after
        self._since: dict[Wait, float] = {}
        self._reported: set[Wait] = set()

    def update(self, waits: dict[Wait, str], now: float) -> None:
        """Report those of `waits` that have lasted for AFTER. `now` is in CLOCK_MONOTONIC seconds."""
        self._since = {wait: self._since.get(wait, now) for wait in waits}
        self._reported &= waits.keys()
        for wait, since in self._since.items():
            if wait in self._reported:
                continue
            if now < since + AFTER:
                self._wake_after(since + AFTER - now)
                continue
            self._reported.add(wait)
            fields = {"instance": wait.number, "generation": wait.generation, "reason": waits[wait]}
            self._emit(EventName.WAITING, fields)

    @contextmanager
    def during(self, reason: str) -> Iterator[None]:
        """Report `reason`, a sentence, if the body takes longer than AFTER."""
        alarm = Alarm(lambda: self._emit(EventName.WAITING, {"reason": reason}))
        alarm.set(AFTER)
        try:
            yield
        finally:
            alarm.close()
