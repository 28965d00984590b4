"""The signals of org.deployd1, and the events that callers may ask for afterwards."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import Any

from deployd.bus import Bus
from deployd.documents import Json
from deployd.errors import Refused
from deployd.model import advice
from deployd.service import disclosure
from deployd.service.introspection import APP, MANAGER, PROPERTIES, ROOT, app_path

MOST_EVENTS = 64
"""Events with journal lines that are kept for callers that may read them."""


class Signals:
    """Broadcasts on `bus`. Everyone receives signals, so they have no journal lines."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._events: deque[tuple[int, str, Json]] = deque(maxlen=MOST_EVENTS)
        self._last_number = time.time_ns()  # no number is used twice, even after a restart of the daemon

    def emit(self, app: str, kind: str, fields: Json) -> None:
        """Broadcast a status (`changed`) or a line of progress (`event`).

        An event that lacks journal lines has a `number`; event() returns all of it.
        """
        path, public = app_path(app), disclosure.disclosed(fields, reads_logs=False)
        if kind == "event":
            if disclosure.has_lines(fields):
                self._last_number += 1
                self._events.append((self._last_number, app, fields))
                public["number"] = self._last_number
            self._bus.emit(path, APP, "RolloutEvent", "s", [json.dumps(public)])
            return
        self._bus.emit(ROOT, MANAGER, "AppChanged", "ss", [app, json.dumps(public)])
        self._bus.emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [APP, properties(fields), []])

    def event(self, app: str, number: int) -> Json:
        """Return an event by its number. Raises Refused if it is not kept any longer."""
        for known, event_app, fields in self._events:
            if (known, event_app) == (number, app):
                return {**fields, "number": number}
        raise Refused(
            f"event {number} of {app} is not available any longer; {advice.deployd()} history {app} shows what failed"
        )


def properties(status: Json) -> dict[str, tuple[str, Any]]:
    """Return the D-Bus properties of an app, as (signature, value)."""
    rollout = status["rollout"] or {}
    return {
        "Name": ("s", status["app"]),
        "Generation": ("t", status["generation"] or 0),
        "Release": ("s", status["release"] or ""),
        "Desired": ("u", status["desired"]),
        "Ready": ("u", status["ready"]),
        "Phase": ("s", rollout.get("phase", "")),
    }
