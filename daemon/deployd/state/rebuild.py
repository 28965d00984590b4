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
    """Return the rows of an app with these `generations`: `rollout` is that of the newest as last recorded, `pinned`
    are generations that instances start with, `last` is the highest number on disk.

    A rollout under way becomes a paused one, because its progress is unknown and a repair must not touch instances. One
    that started no instance is over.
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
    """Keep holds and weight: they limit the share of new connections that the unproven target gets."""
    if rollout is None or rollout.target != target.number:
        rollout = Rollout(target.app, target.origin, target.number, started=target.started)
    reason = f"{rollout.reason}; {LOST}" if rollout.reason else LOST
    pause = rollout.pause
    if rollout.phase is Phase.ROLLING_BACK or pause is Pause.STRANDED:
        pause = Pause.STRANDED
    elif pause not in (Pause.REQUESTED, Pause.FAILED):
        pause = Pause.BLOCKED
    return replace(rollout, phase=Phase.PAUSED, pause=pause, reason=reason, passed=frozenset())
