"""A rollout under way: where it comes from, where it goes, what it has proved so far."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where a rollout stands (the `phase` of status)."""

    ROLLING = "rolling"
    ROLLING_BACK = "rolling-back"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Rollout:
    """Kept in the history database until it ends. `started` in seconds since the epoch."""

    app: str
    origin: int | None
    """The generation it started from and goes back to; None for the first."""
    target: int
    """The generation that this rollout made."""
    phase: Phase = Phase.ROLLING
    reason: str = ""
    aborted: bool = False
    started: float = 0.0
    passed: frozenset[int] = frozenset()
    """Instances of the goal that have passed the gate."""

    @property
    def goal(self) -> int | None:
        """The generation that instances are being moved to right now."""
        return self.origin if self.phase is Phase.ROLLING_BACK else self.target
