"""A rollout under way: where it comes from, where it goes, what it has proved so far."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where a rollout stands (the `phase` of status)."""

    ROLLING = "rolling"
    ROLLING_BACK = "rolling-back"
    PAUSED = "paused"


class Pause(StrEnum):
    """Why a rollout stands."""

    NONE = ""
    HELD = "held"
    """At a canary or a pause_after; the planner keeps what it has reached."""
    REQUESTED = "requested"
    FAILED = "failed"
    """A gate failed, and on_failure or an irreversible release forbids to go back."""
    BLOCKED = "blocked"
    """deployd could not act: a full disk."""
    STRANDED = "stranded"
    """The way back failed or is gone; resume tries it again."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A place where a rollout waits: `new` instances of the target have passed.

    A canary stands beside the old instances; otherwise the new ones have replaced as many.
    """

    new: int
    canary: bool = False
    share: float | None = None
    """What the target gets of new connections until then, 0 to 1; None for as much as its instances are of all."""


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
    pause: Pause = Pause.NONE
    holds: tuple[Hold, ...] = ()
    """Where it is still to wait, in order."""
    closing: bool = False
    """The second pass of a changed listen: what still has the old address is replaced once more."""
    since: float = 0.0
    """When it last got on: CLOCK_MONOTONIC seconds of the boot `boot`. Wall clocks jump."""
    weight: tuple[int, float] | None = None
    """A generation, and the share of new connections that somebody asked for it; until it goes on past its hold."""
    boot: str = ""
    """The boot ID that `since` belongs to (random(4), /proc/sys/kernel/random/boot_id)."""

    @property
    def goal(self) -> int | None:
        """The generation that instances are being moved to right now."""
        return self.origin if self.phase is Phase.ROLLING_BACK else self.target

    @property
    def stands(self) -> bool:
        """Is nothing planned until somebody says so? At a hold the planner keeps what is reached."""
        return self.phase is Phase.PAUSED and self.pause is not Pause.HELD
