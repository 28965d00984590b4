"""Limits how often the status of an app is broadcast: making one takes time, and D-Bus does not report listeners."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from deployd.alarm import Alarm

log = logging.getLogger(__name__)

LAG = 0.05
"""Seconds in which several changes are combined into one broadcast."""

PACE = 0.5
"""Seconds between two broadcasts while changes continue."""

SHARE = 0.02
"""Of the daemon's time, that one app may take with this."""


@dataclass(slots=True)
class _Told:
    """The last time."""

    ended: float = 0.0
    cost: float = 0.0
    standing: object = None


class Announcer:
    """`tell` makes and broadcasts the status of an app; a change of `standing`, such as a rollout's phase, is broadcast
    without delay."""

    def __init__(self, tell: Callable[[str], None], standing: Callable[[str], object]) -> None:
        self._tell = tell
        self._standing = standing
        self._told: dict[str, _Told] = {}
        self._alarms: dict[str, Alarm] = {}

    def changed(self, app: str) -> None:
        """Schedule a broadcast: soon if the last one is long ago or `standing` changed, otherwise at the usual pace."""
        now, told = time.monotonic(), self._told.setdefault(app, _Told())
        wait = LAG
        if self._standing(app) == told.standing:
            wait = max(LAG, told.ended + max(PACE, told.cost / SHARE) - now)
        if app not in self._alarms:
            self._alarms[app] = Alarm(partial(self._now, app))
        self._alarms[app].set(wait)

    def forget(self, app: str) -> None:
        """Cancel the broadcasts of an app that is removed."""
        self._told.pop(app, None)
        alarm = self._alarms.pop(app, None)
        if alarm is not None:
            alarm.close()

    def stop(self) -> None:
        for app in list(self._alarms):
            self.forget(app)

    def _now(self, app: str) -> None:
        told, began = self._told[app], time.monotonic()
        told.standing = self._standing(app)
        try:
            self._tell(app)
        except Exception:
            log.exception("%s: its status could not be told", app)
        told.ended = time.monotonic()
        told.cost = told.ended - began
