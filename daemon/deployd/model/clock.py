"""The time, read once per turn of a control loop and passed to pure functions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A moment. Decisions are based on `monotonic` only; the wall clock may jump and is shown to users."""

    monotonic: float
    """CLOCK_MONOTONIC in seconds."""
    wall: float
    """CLOCK_REALTIME in seconds since the epoch."""
    boot: str
    """The boot ID that `monotonic` belongs to (random(4)), or "" if it cannot be read."""

    @classmethod
    def now(cls) -> Timestamp:
        """Return the current time."""
        return cls(time.monotonic(), time.time(), _boot())


def iso(seconds: float) -> str:
    """Return seconds since the epoch as a date and time of ISO 8601, in the local zone and with its offset."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="milliseconds")


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
