"""The time, as the control loop needs it: read once, then passed to what is pure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Timestamp:
    """Decisions go by `monotonic` alone; the wall clock, which may jump, is for people to read."""

    monotonic: float
    """CLOCK_MONOTONIC in seconds."""
    wall: float
    """Seconds since the epoch."""
    boot: str
    """The boot ID that `monotonic` belongs to (random(4))."""

    @classmethod
    def now(cls) -> Timestamp:
        return cls(time.monotonic(), time.time(), _boot())


def iso(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 with zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="milliseconds")


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
