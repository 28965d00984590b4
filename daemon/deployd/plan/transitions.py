"""Where a rollout goes when its plan fails or is done, or when somebody asks: a table."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from deployd.model.app import OnFailure
from deployd.model.generation import Result
from deployd.model.rollout import Phase, Rollout


class Event(StrEnum):
    """What moves a rollout to another phase."""

    DONE = "done"
    FAILED = "failed"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    BLOCKED = "blocked"
    """The shell could not act: a full disk, a read-only directory."""


TABLE: dict[tuple[Phase, Event], Phase | Result] = {
    (Phase.ROLLING, Event.DONE): Result.SUCCEEDED,
    (Phase.ROLLING, Event.FAILED): Phase.ROLLING_BACK,  # or PAUSED, by on_failure
    (Phase.ROLLING, Event.PAUSE): Phase.PAUSED,
    (Phase.ROLLING, Event.ABORT): Phase.ROLLING_BACK,
    (Phase.ROLLING, Event.BLOCKED): Phase.PAUSED,
    (Phase.ROLLING_BACK, Event.DONE): Result.ROLLED_BACK,  # or ABORTED, FAILED when there was nothing before
    (Phase.ROLLING_BACK, Event.FAILED): Result.FAILED,  # no loops: what runs is left as it is
    (Phase.PAUSED, Event.RESUME): Phase.ROLLING,
    (Phase.PAUSED, Event.ABORT): Phase.ROLLING_BACK,
}


def advance(
    rollout: Rollout,
    event: Event,
    on_failure: OnFailure,
    reason: str = "",
    trusted: frozenset[int] = frozenset(),
) -> Rollout | Result | None:
    """The rollout after `event`, or how it ended; None where the event makes no sense in its phase.

    `trusted` are the instances of the origin that ran before the rollout: on the way back they need no gate.
    """
    target = TABLE.get((rollout.phase, event))
    if target is None:
        return None
    if event is Event.FAILED and rollout.phase is Phase.ROLLING and on_failure is OnFailure.PAUSE:
        target = Phase.PAUSED
    if target is Result.ROLLED_BACK:
        if rollout.aborted:
            return Result.ABORTED
        return Result.ROLLED_BACK if rollout.origin is not None else Result.FAILED
    if isinstance(target, Result):
        return target
    return replace(
        rollout,
        phase=target,
        reason="" if event is Event.RESUME else reason or rollout.reason,
        aborted=rollout.aborted or event is Event.ABORT,
        passed=trusted if target is Phase.ROLLING_BACK else rollout.passed,
    )
