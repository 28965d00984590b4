"""The JSON of a timer in status. Pure."""

from __future__ import annotations

from deployd.documents import Json
from deployd.model import unit_name
from deployd.model.clock import iso
from deployd.model.timer import TimerState


def timer(app: str, of: TimerState) -> Json:
    """Return a timer of `app` with its next and last runs."""
    return {
        "timer": of.name,
        "unit": unit_name.timer(app, of.name),
        "service": unit_name.timer_service(app, of.name),
        "active": of.active,
        "next": _time(of.next_run),
        "running": of.running,
        "started": _time(of.started),
        "ended": _time(of.ended),
        "result": of.result or None,
        "failed": of.failed,
        "exit_status": of.exit_status,
        "signal": of.signal,
        "generation": of.generation,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else iso(seconds)
