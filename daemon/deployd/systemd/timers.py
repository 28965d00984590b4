"""Timers from the properties of their units. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd.model.timer import TimerState
from deployd.systemd import observe

NEVER = (0, 2**64 - 1)
"""Values of a time that there is not."""

RUNNING = frozenset({"activating", "active", "deactivating"})
"""ActiveState of a service while a run is under way."""


def timer(
    name: str, unit: Mapping[str, Any], service: Mapping[str, Any], generation: int | None, boot: float
) -> TimerState:
    """Return the state of a timer from the properties of its `unit` and of its `service`.

    `generation` is that of its last run, `boot` the CLOCK_REALTIME at CLOCK_MONOTONIC 0, in seconds.
    """
    started, ended = (_since(service, f"ExecMain{what}TimestampMonotonic", boot) for what in ("Start", "Exit"))
    running = service.get("ActiveState") in RUNNING
    # A run that could not be started has no process, and no times of one. Its result is that of the unit.
    ran = not running and (ended is not None or service.get("ActiveState") == "failed")
    result = str(service.get("Result", "")) if ran else ""
    return TimerState(
        name=name,
        active=unit.get("ActiveState") == "active",
        next_run=_at(unit, "NextElapseUSecRealtime"),
        running=running,
        started=started,
        ended=None if running else ended,
        result=result,
        exit_status=observe.exit_status(service) if result else None,
        signal=observe.killed_by(service) if result else None,
        generation=generation if running or ran else None,
    )


def _at(properties: Mapping[str, Any], name: str) -> float | None:
    value = int(properties.get(name, 0))
    return None if value in NEVER else value / 1e6


def _since(properties: Mapping[str, Any], name: str, boot: float) -> float | None:
    value = _at(properties, name)
    return None if value is None else boot + value
