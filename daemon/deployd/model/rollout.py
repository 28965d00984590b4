"""A rollout under way: its origin, its target, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from deployd.model.clock import Timestamp


class Phase(StrEnum):
    """The `phase` of a rollout in status."""

    ROLLING = "rolling"
    ROLLING_BACK = "rolling-back"
    PAUSED = "paused"


class Pause(StrEnum):
    """Why a rollout is paused."""

    NONE = ""
    HELD = "held"
    """At a canary or a pause_after step; the planner maintains what has been reached."""
    REQUESTED = "requested"
    FAILED = "failed"
    """A gate failed, and on_failure or an irreversible release forbids a rollback."""
    BLOCKED = "blocked"
    """deployd could not act, for example because the disk is full."""
    STRANDED = "stranded"
    """The rollback failed, or its release is missing; resume tries it again."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A step at which a rollout waits to be resumed: `new` instances of the target have passed their gate.

    A canary runs alongside all old instances; otherwise the new ones have replaced as many.
    """

    new: int
    canary: bool = False
    share: float | None = None
    """The share of new connections that the target gets while the rollout waits, 0 to 1; None for the share that its
    instances are of all."""
    preview: bool = False
    """No client reaches the new instances."""
    address: bool = False
    """The first new instance is reached at a private address."""
    smoke: bool = False
    """The rollout does not pause here: it continues when the smoke tests have succeeded."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout, stored in the history database until it ends. `started` in seconds since the epoch."""

    app: str
    origin: int | None
    """The generation that it started from, to which it is rolled back; None for the first deployment."""
    target: int
    """The generation that this rollout made."""
    phase: Phase = Phase.ROLLING
    reason: str = ""
    aborted: bool = False
    started: float = 0.0
    passed: frozenset[int] = frozenset()
    """Instances of the goal that have passed their gate."""
    pause: Pause = Pause.NONE
    holds: tuple[Hold, ...] = ()
    """The steps at which it has yet to wait, in order."""
    closing: bool = False
    """The second pass after `listen` has changed: instances that still have an old address are replaced once more."""
    since: float = 0.0
    """The time of its last progress, in CLOCK_MONOTONIC seconds of the boot `boot`."""
    began: float = 0.0
    """When it began, on the same clock; of a rollout that began in an earlier boot, an estimate (see `lasted`)."""
    weight: tuple[int, float] | None = None
    """A generation and the share of new connections requested for it, in force until the rollout is resumed."""
    boot: str = ""
    """The boot ID that `since` and `began` belong to (random(4), /proc/sys/kernel/random/boot_id)."""

    @property
    def goal(self) -> int | None:
        """Return the generation that instances are being moved to now."""
        return self.origin if self.phase is Phase.ROLLING_BACK else self.target

    @property
    def previewed(self) -> int | None:
        """Return the generation that no client must reach: the target until a preview has been resumed."""
        return self.target if self.holds and self.holds[0].preview else None

    @property
    def is_tried(self) -> bool:
        """True until it is resumed at its canary or preview, if it has one. Smoke tests wait for no resume."""
        return any((hold.canary or hold.preview) and not hold.smoke for hold in self.holds)

    @property
    def tests(self) -> bool:
        """True if smoke tests are to run once the next hold is reached."""
        return self.phase is Phase.ROLLING and bool(self.holds) and (self.holds[0].preview or self.holds[0].smoke)

    @property
    def shows_preview(self) -> bool:
        """True if an instance that has a private address has passed its gate."""
        here = bool(self.holds) and self.holds[0].address
        return here and self.phase is not Phase.ROLLING_BACK and bool(self.passed)

    @property
    def suspended(self) -> bool:
        """True if nothing is planned until a request arrives. At a canary or pause_after step planning continues."""
        return self.phase is Phase.PAUSED and self.pause is not Pause.HELD

    def lasted(self, now: Timestamp) -> float:
        """Return the seconds since it began.

        CLOCK_MONOTONIC of another boot cannot be compared: after a reboot there is only the wall clock, which may have
        been set meanwhile. So the result may be wrong then, but is never negative.
        """
        return max(0.0, now.monotonic - self.began if self.boot == now.boot else now.wall - self.started)

    def progressed(self, now: Timestamp) -> Rollout:
        """Return the rollout with its last progress at `now`, on the clock of the present boot."""
        return replace(self, since=now.monotonic, began=now.monotonic - self.lasted(now), boot=now.boot)
