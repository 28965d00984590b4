"""The planner: from a goal and the world as it is to the next actions.

``plan(goal, world, now)`` is total and pure. It is asked again after every change of the world, so going
forward, recovering from a crash, scaling and rolling back are one code path. Its rules:

- An instance of the goal counts once it has passed the gate: ready, never restarted by systemd since its
  start, and ready for `min_ready`. Once passed it may fall over and come back; until then it does not count.
- An old instance is stopped only if afterwards at least `floor` instances are available, and its replacement
  stands: old ones left and new ones that passed are together no fewer than `floor`.
- Old instances go newest generation first, then most recently started first (or the other way round).
  One that serves nobody may go out of turn, but only when nothing else could move.
- Never more than `ceiling` alive, except what the world already has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from deployd.model.action import Action, Adopt, Start, Stop, Unpin
from deployd.model.app import Order
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal

MAX_RESTARTS = 3
"""Automatic restarts that an instance which had passed the gate may need before its release counts as bad."""


class Verdict(StrEnum):
    """How the goal stands."""

    GOING = "going"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class World:
    """What is observed, and what the rollout remembers: the instances of the goal that passed the gate."""

    instances: tuple[Instance, ...]
    passed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. With FAILED there are no actions: the caller decides where to go instead."""

    verdict: Verdict
    actions: tuple[Action, ...] = ()
    passed: frozenset[int] = frozenset()
    culprit: int | None = None
    reason: str = ""
    wake_at: float | None = None
    """When to plan again though nothing changed (CLOCK_MONOTONIC seconds)."""


def plan(goal: Goal, world: World, now: float) -> Plan:
    """The next actions towards `goal`. `now` is CLOCK_MONOTONIC in seconds."""
    adopts = tuple(
        Adopt(item.number, goal.generation, item.generation)
        for item in _by_number(world.instances)
        if item.generation is not None and item.generation in goal.same and _alive(item)
    )
    adopted = {action.number for action in adopts}
    instances = [
        replace(item, generation=goal.generation) if item.number in adopted else item for item in world.instances
    ]
    # What already ran before this rollout is judged by its being ready, not by how it came up.
    trusted = world.passed | {item.number for item in instances if item.number in adopted}

    new = [item for item in instances if item.generation == goal.generation and item.state is not State.INACTIVE]
    old = [item for item in instances if item.generation != goal.generation and _alive(item)]
    idle = [item for item in instances if item.state is State.INACTIVE and item.generation is not None]

    passed, culprit, reason, wake_at = _judge(new, trusted, goal, now)
    if culprit is not None:
        return Plan(Verdict.FAILED, passed=passed, culprit=culprit, reason=reason)
    if goal.deadline is not None:
        if now >= goal.deadline:
            return Plan(Verdict.FAILED, passed=passed, reason=_late(new, goal))
        wake_at = goal.deadline if wake_at is None else min(wake_at, goal.deadline)

    actions: list[Action] = [*adopts]
    waiting = [item for item in idle if item.generation == goal.generation]
    available = [item for item in new if item.number in passed and item.state is State.READY]
    stops = _stops(goal, new, old, available)
    starts = _starts(goal, instances, new, old, waiting)
    if not starts and not stops:
        stops = _unblock(goal, new, old, available)
    actions += stops
    actions += starts
    # A pin without a process would come up at the next boot: the goal's own wait for their turn, others go.
    pending = {action.number for action in starts}
    lacking = len(new) < goal.instances
    actions += [
        Unpin(item.number)
        for item in _by_number(idle)
        if item.number not in pending and (item.generation != goal.generation or not lacking)
    ]
    if actions or len(available) != goal.instances or len(new) != goal.instances or old:
        return Plan(Verdict.GOING, tuple(actions), passed, wake_at=wake_at)
    return Plan(Verdict.DONE, passed=passed)


def _alive(item: Instance) -> bool:
    return item.state is not State.INACTIVE


def _by_number(items: Iterable[Instance]) -> list[Instance]:
    return sorted(items, key=lambda item: item.number)


def _judge(
    new: list[Instance], trusted: frozenset[int] | set[int], goal: Goal, now: float
) -> tuple[frozenset[int], int | None, str, float | None]:
    """Who has passed the gate, who has failed it and why, and when to look again."""
    passed: set[int] = set()
    wake_at: float | None = None
    for item in _by_number(new):
        if item.number in trusted:
            if item.restarts > MAX_RESTARTS and item.state is not State.READY:
                return frozenset(passed), item.number, f"instance {item.number} keeps crashing{_because(item)}", None
            passed.add(item.number)
        elif item.state is State.FAILED or item.restarts > 0:
            return frozenset(passed), item.number, f"instance {item.number} {item.detail or 'failed'}", None
        elif item.state is State.READY:
            until = item.ready_since + goal.min_ready
            if now >= until:
                passed.add(item.number)
            else:
                wake_at = until if wake_at is None else min(wake_at, until)
    return frozenset(passed), None, "", wake_at


def _because(item: Instance) -> str:
    return f": {item.detail}" if item.detail else ""


def _late(new: list[Instance], goal: Goal) -> str:
    ready = sum(item.state is State.READY for item in new)
    return f"the rollout's deadline passed with {ready} of {goal.instances} instances ready"


def _stop_order(goal: Goal) -> Callable[[Instance], tuple[int, float, int]]:
    sign = -1 if goal.order is Order.NEWEST_OLD_FIRST else 1

    def key(item: Instance) -> tuple[int, float, int]:
        # No pin at all is older than any generation; the number decides between equal starts.
        return (sign * (item.generation or 0), sign * item.started, sign * item.number)

    return key


def _stops(goal: Goal, new: list[Instance], old: list[Instance], available: list[Instance]) -> list[Stop]:
    """Old instances whose turn it is, in order, then surplus new ones."""
    stops: list[Stop] = []
    serving = len(available) + sum(item.state is State.READY for item in old)
    standing = len(available) + sum(item.state is not State.STOPPING for item in old)
    for item in sorted(old, key=_stop_order(goal)):
        if item.state is State.STOPPING:
            continue
        loss = item.state is State.READY
        if (loss and serving - 1 < goal.floor) or standing - 1 < goal.floor:
            break
        stops.append(Stop(item.number, item.generation))
        serving -= loss
        standing -= 1
    kept = [item for item in new if item.state is not State.STOPPING]
    surplus = len(kept) - goal.instances
    if surplus > 0:
        up = {item.number for item in available}
        # Those that do not serve first, then the most recently started.
        for item in sorted(kept, key=lambda item: (item.number in up, -item.started, -item.number))[:surplus]:
            if item.number in up and serving - 1 < goal.instances:
                break
            stops.append(Stop(item.number, item.generation, "surplus"))
            serving -= item.number in up
    return stops


def _unblock(goal: Goal, new: list[Instance], old: list[Instance], available: list[Instance]) -> list[Stop]:
    """When nothing can start, nothing can stop and nothing is on its way: one that is down goes out of turn."""
    busy = any(item.state in (State.STARTING, State.STOPPING) for item in (*new, *old))
    if busy or len(available) < sum(item.state is not State.STOPPING for item in new):
        return []
    standing = len(available) + len(old)
    down = [item for item in old if item.state is not State.READY]
    if not down or standing - 1 < goal.floor:
        return []
    first = min(down, key=_stop_order(goal))
    return [Stop(first.number, first.generation, "failed")]


def _starts(
    goal: Goal, instances: list[Instance], new: list[Instance], old: list[Instance], waiting: list[Instance]
) -> list[Start]:
    """New instances, as many as the goal lacks and the ceiling allows; pinned ones first, then free numbers."""
    room = min(goal.instances - len(new), goal.ceiling - len(new) - len(old))
    if room <= 0:
        return []
    taken = {item.number for item in instances if _alive(item)}
    numbers = [item.number for item in _by_number(waiting)]
    # Stopped instances keep their number free for the goal; a running one never lends its own.
    free = (number for number in range(1, len(taken) + goal.instances + 2) if number not in taken)
    for number in free:
        if len(numbers) >= room:
            break
        if number not in numbers:
            numbers.append(number)
    return [Start(number, goal.generation) for number in numbers[:room]]
