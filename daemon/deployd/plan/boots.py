"""The gate timeout, learned from past boots. Pure; times in seconds.

The timeout is one of a few values, so that it does not change with every boot, because each change rewrites a unit
file. The lowest value is also used for an app without past boots, so that its second rollout does not change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TypedDict

FACTOR = 4.0
"""How much longer than the slowest known boot a boot may take: the machine may be busy, its caches cold."""

KNOWN = 50
"""Boots that are considered, the newest."""

LADDER = (60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)
"""Possible timeouts, in ascending order."""


class Boots(TypedDict):
    """Statistics of past boots."""

    count: int
    median: float
    max: float


def gate_timeout(boots: Sequence[float]) -> float:
    """Return the gate timeout after these boots, newest first."""
    wanted = FACTOR * max(boots[:KNOWN], default=0.0)
    return next((step for step in LADDER if step >= wanted), LADDER[-1])


def summary(boots: Sequence[float]) -> Boots | None:
    """Return statistics of these boots, newest first; None if there are none."""
    if not boots:
        return None
    known = boots[:KNOWN]
    return Boots(count=len(known), median=round(median(known), 3), max=round(max(known), 3))
