"""How long an instance may take until it is ready, learned from how long others took. Pure; times in seconds.

A ladder of a few values, so that the deadline does not change with every boot: each change is another unit file. The
floor is what an app gets that never booted, or its second rollout would change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TypedDict

FACTOR = 4.0
"""A boot may take so many times as long as the slowest known: a busy machine, a cold cache."""

KNOWN = 50
"""Boots that are looked at, the newest."""

LADDER = (60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)
"""The first is the floor, the last the ceiling."""


class Boots(TypedDict):
    """Past boots in a few figures."""

    count: int
    median: float
    max: float


def gate_timeout(boots: Sequence[float]) -> float:
    """The gate timeout after these boots, newest first."""
    wanted = FACTOR * max(boots[:KNOWN], default=0.0)
    return next((step for step in LADDER if step >= wanted), LADDER[-1])


def summary(boots: Sequence[float]) -> Boots | None:
    """None when there was none."""
    if not boots:
        return None
    known = boots[:KNOWN]
    return Boots(count=len(known), median=round(median(known), 3), max=round(max(known), 3))
