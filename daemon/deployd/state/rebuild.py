"""The history of an app, rebuilt from the records of its generations and its pins. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from deployd.model.generation import Generation, Result
from deployd.model.rollout import Pause, Phase, Rollout

LOST = "the history was lost during this rollout"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The rows of one app."""

    generations: tuple[Generation, ...]
    current: int | None
    last: int
    rollout: Rollout | None


def rebuilt(generations: Iterable[Generation], rollout: Rollout | None, pinned: frozenset[int], last: int) -> Rebuilt:
    """Return the rows of an app with these `generations`.

    `rollout` is the last recorded rollout of the newest generation, `pinned` are the generations with which instances
    start, `last` is the highest number on disk. A rollout in progress is paused, because its progress is unknown and a
    repair must not change instances. One that had not started an instance is ended.
    """
    ordered = sorted(generations, key=lambda item: item.number)
    newest = ordered[-1] if ordered else None
    going = newest if newest is not None and newest.result is Result.RUNNING and newest.number in pinned else None
    rows = tuple(_ended(item) if item.result is Result.RUNNING and item is not going else item for item in ordered)
    good = [item.number for item in rows if item.result is Result.SUCCEEDED]
    return Rebuilt(
        generations=rows,
        current=max(good, default=None),
        last=max([last, *(item.number for item in rows)]),
        rollout=None if going is None else _paused(going, rollout),
    )


def _ended(item: Generation) -> Generation:
    return replace(item, result=Result.ABORTED, reason=LOST, finished=item.started)


def _paused(target: Generation, rollout: Rollout | None) -> Rollout:
    """Return the rollout paused. Its holds and weight are kept, to limit new connections to the unproven target."""
    if rollout is None or rollout.target != target.number:
        rollout = Rollout(target.app, target.origin, target.number, started=target.started)
    reason = f"{rollout.reason}; {LOST}" if rollout.reason else LOST
    pause = rollout.pause
    if rollout.phase is Phase.ROLLING_BACK or pause is Pause.STRANDED:
        pause = Pause.STRANDED
    elif pause not in (Pause.REQUESTED, Pause.FAILED):
        pause = Pause.BLOCKED
    return replace(rollout, phase=Phase.PAUSED, pause=pause, reason=reason, passed=frozenset())
