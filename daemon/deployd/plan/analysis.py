"""When a rollout is analysed, and what waits for the answer. Pure.

- It is analysed while instances of the new generation and of another are ready: there is something to compare. The
  first time one `interval` after that began (who has served nobody yet cannot be judged), then again one `interval`
  after each run's end.
- The last of the old that serve stay until a run has said yes that began after the rollout last got on, which is when
  the last new instance passed, or when somebody resumed it: nothing is finished that was not looked at whole. Where
  they go before the last new one comes (no surge), that one is not looked at: nothing is left to compare it with.
- It is not for what brings nothing new (a restart, another number of instances), and not for a rollback, which leads to
  what was good before and is in a hurry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deployd.model.action import Action, Freeze, Stop
from deployd.model.generation import Cause
from deployd.model.instance import Instance, State

CAUSES = frozenset({Cause.APPLY, Cause.ROLLOUT, Cause.RELOAD})


@dataclass(frozen=True, slots=True)
class Record:
    """What has been answered so far. Times are CLOCK_MONOTONIC seconds."""

    since: float | None = None
    """When both generations began to serve; None while they do not."""
    ended: float | None = None
    """When the last run ended, whatever it said."""
    good: float | None = None
    """When the last run began that said yes."""


def both_serve(generation: int, instances: Iterable[Instance]) -> bool:
    """Is there an instance of `generation` that is ready, and one of another?"""
    return len({item.generation == generation for item in instances if item.state is State.READY}) == 2


def old_left(generation: int, instances: Iterable[Instance]) -> bool:
    """Is anybody of another generation there, if only on the way out?"""
    return any(
        item.generation != generation and item.state not in (State.INACTIVE, State.STANDBY) for item in instances
    )


def due(record: Record, interval: float) -> float | None:
    """When the next run is to begin; None when there is nothing to compare."""
    if record.since is None:
        return None
    return max(record.since, record.ended or record.since) + interval


def allowed(
    actions: tuple[Action, ...], generation: int, instances: Iterable[Instance], record: Record, got_on: float
) -> tuple[Action, ...]:
    """What may be done now of `actions`. `got_on`: when the rollout to `generation` last did."""
    if record.since is None or (record.good is not None and record.good >= got_on):
        return actions
    leaving = {item for item in actions if isinstance(item, Stop | Freeze) and item.generation != generation}
    numbers = {item.number for item in leaving}
    if any(
        item.state is State.READY and item.generation != generation and item.number not in numbers for item in instances
    ):
        return actions
    return tuple(item for item in actions if item not in leaving)
