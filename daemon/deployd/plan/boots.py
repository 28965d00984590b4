"""How long an instance may take until it is ready, learned from how long others took. Pure; times in seconds.

A ladder of a few values, so that the deadline does not change with every boot: each change is another unit file.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TypedDict

UNKNOWN = 60.0
"""The gate timeout of an app that never booted."""

FACTOR = 4.0
"""A boot may take so many times as long as the slowest known: a busy machine, a cold cache."""

KNOWN = 50
"""Boots that are looked at, the newest."""

LADDER = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)
"""The first is the floor, the last the ceiling."""


class Boots(TypedDict):
    """Past boots in a few figures."""

    count: int
    median: float
    max: float


def gate_timeout(boots: Sequence[float], *, probed: bool = False) -> float:
    """The gate timeout after these boots, newest first. `probed`: the gate has a probe."""
    if not boots:
        return UNKNOWN
    # A boot ends with READY=1. How long a probe may have to wait after that is not known.
    wanted = max(FACTOR * max(boots[:KNOWN]), UNKNOWN if probed else 0.0)
    return next((step for step in LADDER if step >= wanted), LADDER[-1])


def summary(boots: Sequence[float]) -> Boots | None:
    """None when there was none."""
    if not boots:
        return None
    known = boots[:KNOWN]
    return Boots(count=len(known), median=round(median(known), 3), max=round(max(known), 3))
