"""Broadcasts what happens to apps: events of rollouts immediately, the status of an app at a limited rate, since making
one takes time and D-Bus does not say whether anyone receives it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from deployd.alarm import Alarm
from deployd.documents import Json
from deployd.errors import NoSuchApp
from deployd.model.clock import iso
from deployd.model.event import EventName

log = logging.getLogger(__name__)

LAG = 0.05
"""Seconds in which several changes are combined into one broadcast."""

PACE = 0.5
"""Seconds between two broadcasts while changes continue."""

SHARE = 0.02
"""Part of the daemon's time that the broadcasts of one app may take."""

Emit = Callable[[str, str, dict[str, Any]], None]
"""(app, kind, fields): sends a status (kind `changed`) or a line of progress (`event`)."""


@dataclass(slots=True)
class _Broadcast:
    """The last one of an app."""

    ended: float = 0.0
    cost: float = 0.0
    phase: object = None


class Announcer:
    """`status` makes the status of an app. A change of `phase`, such as a rollout's pause, is broadcast with little
    delay."""

    def __init__(self, emit: Emit, status: Callable[[str], Json], phase: Callable[[str], object]) -> None:
        self._emit = emit
        self._status = status
        self._phase = phase
        self._last: dict[str, _Broadcast] = {}
        self._alarms: dict[str, Alarm] = {}
        self._stopped = False

    def event(self, app: str, event: EventName, fields: dict[str, Any]) -> None:
        """Broadcast one event. A failure to do so does not affect the work that it reports."""
        try:
            self._emit(app, "event", {"event": event, "app": app, "time": iso(time.time()), **fields})
        except Exception:
            log.exception("%s: broadcasting the event %s failed", app, event)

    def changed(self, app: str) -> None:
        """Schedule a broadcast of the status: soon if the last one is long ago or `phase` changed, otherwise at the
        usual pace."""
        if self._stopped:
            return  # the history may be closed by now
        now, last = time.monotonic(), self._last.setdefault(app, _Broadcast())
        wait = LAG
        if self._phase(app) == last.phase:
            wait = max(LAG, last.ended + max(PACE, last.cost / SHARE) - now)
        if app not in self._alarms:
            self._alarms[app] = Alarm(partial(self._broadcast, app))
        self._alarms[app].set(wait)

    def forget(self, app: str) -> None:
        """Cancel the broadcasts of an app that is removed."""
        self._last.pop(app, None)
        alarm = self._alarms.pop(app, None)
        if alarm is not None:
            alarm.close()

    def stop(self) -> None:
        """Cancel all broadcasts and ignore later changes."""
        self._stopped = True
        for app in list(self._alarms):
            self.forget(app)

    def _broadcast(self, app: str) -> None:
        last, began = self._last[app], time.monotonic()
        last.phase = self._phase(app)
        try:
            self._emit(app, "changed", self._status(app))
        except NoSuchApp:
            self.forget(app)  # it was removed meanwhile
            return
        except Exception:
            log.exception("%s: broadcasting its status failed", app)
        last.ended = time.monotonic()
        last.cost = last.ended - began
