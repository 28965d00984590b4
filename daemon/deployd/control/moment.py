"""The time, as the control loop needs it: read once, then passed to what is pure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Moment:
    """Decisions go by `monotonic` alone; the wall clock, which may jump, is for people to read."""

    monotonic: float
    """CLOCK_MONOTONIC in seconds."""
    wall: float
    """Seconds since the epoch."""
    boot: str
    """The boot ID that `monotonic` belongs to (random(4))."""

    @classmethod
    def now(cls) -> Moment:
        return cls(time.monotonic(), time.time(), _boot())


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
