"""When the analysis of a rollout runs, and which actions wait for its result. Pure.

- The analysis runs while instances of the new generation and of another one are ready, so that there is something to
  compare. The first run begins one `interval` after that (an instance without requests cannot be judged), each further
  one an `interval` after the end of the last.
- The last ready old instances stay until a run has succeeded that began after the last progress of the rollout, that is
  after the last new instance passed or the rollout was resumed. So no rollout finishes without an analysis of all new
  instances. Without surge the last old instances stop before the last new one starts; it is not analysed, because
  nothing is left to compare it with.
- There is no analysis for a restart or another number of instances, which bring nothing new, nor for a rollback, which
  leads to a generation that was good before and must be quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deployd.model.action import Action, Freeze, Stop
from deployd.model.generation import Cause
from deployd.model.instance import OUT_OF_SERVICE, Instance, State

CAUSES = frozenset({Cause.APPLY, Cause.ROLLOUT, Cause.RELOAD})


@dataclass(frozen=True, slots=True)
class Record:
    """The analysis so far. Times are CLOCK_MONOTONIC seconds."""

    since: float | None = None
    """When both generations began to serve; None while they do not."""
    ended: float | None = None
    """When the last run ended, whatever its result."""
    good: float | None = None
    """When the last successful run began."""


def both_serve(generation: int, instances: Iterable[Instance]) -> bool:
    """True if there is a ready instance of `generation` and one of another generation."""
    return len({item.generation == generation for item in instances if item.state is State.READY}) == 2


def old_left(generation: int, instances: Iterable[Instance]) -> bool:
    """True if there is an instance of another generation, even one that is stopping."""
    return any(item.generation != generation and item.state not in OUT_OF_SERVICE for item in instances)


def due(record: Record, interval: float) -> float | None:
    """Return when the next run is to begin; None if there is nothing to compare."""
    if record.since is None:
        return None
    return max(record.since, record.ended or record.since) + interval


def allowed(
    actions: tuple[Action, ...], generation: int, instances: Iterable[Instance], record: Record, progressed: float
) -> tuple[Action, ...]:
    """Return those of `actions` that may be carried out now. `progressed`: time of the rollout's last progress."""
    if record.since is None or (record.good is not None and record.good >= progressed):
        return actions
    leaving = {item for item in actions if isinstance(item, Stop | Freeze) and item.generation != generation}
    numbers = {item.number for item in leaving}
    if any(
        item.state is State.READY and item.generation != generation and item.number not in numbers for item in instances
    ):
        return actions
    return tuple(item for item in actions if item not in leaving)
