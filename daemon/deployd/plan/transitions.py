"""The phases of a rollout, and the events and requests that change them: a table."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from deployd.model.generation import Result
from deployd.model.pace import OnFailure
from deployd.model.rollout import Pause, Phase, Rollout


class Event(StrEnum):
    """What moves a rollout to another phase."""

    DONE = "done"
    HELD = "held"
    """The rollout has reached a canary or a pause_after."""
    TESTED = "tested"
    """The smoke tests have succeeded."""
    CLOSING = "closing"
    """All instances are new, but still have an address that is to close: a second pass begins."""
    FAILED = "failed"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    BLOCKED = "blocked"
    """An action is impossible: a full disk, a read-only directory."""
    STRANDED = "stranded"
    """A rollback is impossible: the old release no longer exists."""


TABLE: dict[tuple[Phase, Event], Phase | Result] = {
    (Phase.ROLLING, Event.DONE): Result.SUCCEEDED,
    (Phase.ROLLING, Event.HELD): Phase.PAUSED,
    (Phase.ROLLING, Event.TESTED): Phase.ROLLING,
    (Phase.ROLLING, Event.CLOSING): Phase.ROLLING,
    (Phase.ROLLING, Event.FAILED): Phase.ROLLING_BACK,  # or PAUSED, by on_failure
    (Phase.ROLLING, Event.PAUSE): Phase.PAUSED,
    (Phase.ROLLING, Event.ABORT): Phase.ROLLING_BACK,
    (Phase.ROLLING, Event.BLOCKED): Phase.PAUSED,
    (Phase.ROLLING_BACK, Event.DONE): Result.ROLLED_BACK,  # or ABORTED, or FAILED after a first deployment
    (Phase.ROLLING_BACK, Event.FAILED): Phase.PAUSED,  # no loops: the instances stay as they are until a request
    (Phase.ROLLING_BACK, Event.STRANDED): Phase.PAUSED,
    (Phase.PAUSED, Event.RESUME): Phase.ROLLING,  # or ROLLING_BACK, if that failed
    (Phase.PAUSED, Event.ABORT): Phase.ROLLING_BACK,
    (Phase.PAUSED, Event.FAILED): Phase.ROLLING_BACK,  # only at a hold, where the planner keeps watching
}

PAUSES = {
    Event.HELD: Pause.HELD,
    Event.PAUSE: Pause.REQUESTED,
    Event.FAILED: Pause.FAILED,
    Event.BLOCKED: Pause.BLOCKED,
    Event.STRANDED: Pause.STRANDED,
}


def advance(
    rollout: Rollout,
    event: Event,
    on_failure: OnFailure,
    reason: str = "",
    trusted: frozenset[int] = frozenset(),
) -> Rollout | Result | None:
    """Return the rollout after `event`, or how it ended; None if the event does not apply in its phase.

    `trusted` are the instances of the origin that ran before the rollout: in a rollback they need no gate.
    """
    target = TABLE.get((rollout.phase, event))
    watched = rollout.phase is not Phase.PAUSED or rollout.pause is Pause.HELD
    if target is None or (event is Event.FAILED and not watched) or (event is Event.CLOSING and rollout.closing):
        return None
    if event is Event.TESTED and not rollout.tests:
        return None
    if event is Event.FAILED and target is Phase.ROLLING_BACK and on_failure is OnFailure.PAUSE:
        target = Phase.PAUSED
    if event is Event.RESUME and rollout.pause is Pause.STRANDED:
        target = Phase.ROLLING_BACK
    if target is Result.ROLLED_BACK:
        if rollout.aborted:
            return Result.ABORTED
        return Result.ROLLED_BACK if rollout.origin is not None else Result.FAILED
    if isinstance(target, Result):
        return target
    passed = trusted if target is Phase.ROLLING_BACK else rollout.passed
    pause = PAUSES[event] if target is Phase.PAUSED else Pause.NONE
    past_hold = event is Event.TESTED or (event is Event.RESUME and rollout.pause is Pause.HELD)
    return replace(
        rollout,
        phase=target,
        reason="" if event is Event.RESUME and target is Phase.ROLLING else reason or rollout.reason,
        aborted=rollout.aborted or event is Event.ABORT,
        passed=frozenset() if event is Event.CLOSING else passed,
        pause=Pause.STRANDED if pause and rollout.phase is Phase.ROLLING_BACK else pause,
        holds=rollout.holds[1:] if past_hold else rollout.holds,
        weight=None if past_hold or target is Phase.ROLLING_BACK else rollout.weight,
        closing=(rollout.closing or event is Event.CLOSING) and target is not Phase.ROLLING_BACK,
    )
