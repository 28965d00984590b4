"""Timers of an app: commands of the live release that systemd runs at certain times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A table [process.NAME] with a schedule. User, environment and `service` include what the app has."""

    name: str
    schedule: tuple[str, ...]
    """Calendar expressions (systemd.time(7))."""
    exec: tuple[str, ...]
    persistent: bool = False
    """True if a run that was missed while the machine or the app was down is made up for."""
    randomized_delay: float = 0.0
    """The most seconds by which a run is delayed at random."""
    timeout: float | None = None
    """Seconds that a run may take; None for no limit."""
    user: str | None = None
    group: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    stop_signal: str = "SIGTERM"
    stop_timeout: float = 30.0
    """Seconds that a run has to end after `stop_signal`."""
    service: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Directives of its service, as (key, values)."""

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Timer:
        """Return the timer from which dataclasses.asdict and JSON made `raw`."""
        return cls(
            **{
                **raw,
                "schedule": tuple(raw["schedule"]),
                "exec": tuple(raw["exec"]),
                "environment": tuple((key, value) for key, value in raw["environment"]),
                "service": tuple((key, tuple(values)) for key, values in raw["service"]),
            }
        )


@dataclass(frozen=True, slots=True)
class TimerState:
    """A timer and its last run, as systemd has them. Times are seconds since the epoch."""

    name: str
    active: bool
    """True if it is waiting for its next time."""
    next_run: float | None
    running: bool
    started: float | None
    """The start of the last run of this boot, or of the one under way; None if there was none."""
    ended: float | None
    result: str
    """Result= of the last run (systemd.service(5)); "" if none has ended yet."""
    exit_status: int | None
    signal: str | None
    generation: int | None
    """The generation of the last run."""

    @property
    def failed(self) -> bool:
        """True if the last run has failed."""
        return not self.running and self.result not in ("", "success")
