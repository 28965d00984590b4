"""The planner: from a goal and the world as it is to the next actions.

``plan(goal, world, now)`` is total and pure. It is asked again after every change of the world, so going
forward, recovering from a crash, scaling and rolling back are one code path. Its rules:

- An instance of the goal counts once it has passed the gate: ready, never restarted by systemd since its
  start, and ready for `min_ready`. Once passed it may fall over and come back; until then it does not count.
- An instance that runs the very same process under another generation is adopted once it is ready, however it
  came up. One that is still starting is waited for; one that failed is replaced like an old one.
- An old instance is stopped only if afterwards at least `floor` instances are available, and its replacement
  stands: old ones left and new ones that passed are together no fewer than `floor`.
- Old instances go newest generation first, then most recently started first (or the other way round).
  One that serves nobody may go out of turn, but only when nothing else could move.
- Of a goal that is not proven, one instance that had passed may be down at a time (one in twenty of many); more
  at once fail it. Without `min_ready` this is what stops a release that crashes soon after READY=1.
- Never more than `ceiling` alive, except what the world already has.
- A goal that is proven forgives: one of its instances that had passed and lies failed is stopped and started
  anew. Only an instance that this start does not bring up either fails the goal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, islice

from deployd.model.action import Action, Adopt, Start, Stop, Unpin
from deployd.model.app import Order
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal

MAX_RESTARTS = 3
"""Automatic restarts that an instance which had passed the gate may need before its release counts as bad."""


MANY = 20
"""Of so many instances one may have crashed, after it passed, without its release counting as bad."""


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
    """To be saved before the actions are begun: an adopted instance is recognised by it."""
    culprit: int | None = None
    reason: str = ""
    wake_at: float | None = None
    """When to plan again though nothing changed (CLOCK_MONOTONIC seconds)."""


def plan(goal: Goal, world: World, now: float) -> Plan:
    """The next actions towards `goal`. `now` is CLOCK_MONOTONIC in seconds."""
    alive = [item for item in world.instances if item.state is not State.INACTIVE]
    new = [item for item in alive if _belongs(item, goal)]
    old = [item for item in alive if not _belongs(item, goal)]
    idle = [item for item in world.instances if item.state is State.INACTIVE and item.generation is not None]

    failed = _failures(goal, new, world.passed)
    passed, wake_at = _judge(goal, [item for item in new if item.number not in failed], world.passed, now)
    if failed:
        culprit = min(failed)
        return Plan(Verdict.FAILED, passed=passed, culprit=culprit, reason=failed[culprit])
    available = [item for item in new if item.number in passed and item.state is State.READY]
    if goal.deadline is not None and len(available) < goal.instances:
        if now >= goal.deadline:
            return Plan(Verdict.FAILED, passed=passed, reason=_late(new, goal))
        wake_at = goal.deadline if wake_at is None else min(wake_at, goal.deadline)

    stops = _stops(goal, new, old, available)
    starts = _starts(goal, new, old, idle)
    if not starts and not stops:
        stops = _unblock(goal, new, old, available)
    leaving = {action.number for action in stops}
    actions: tuple[Action, ...] = (
        *_adopts(goal, [item for item in new if item.number in passed - leaving]),
        *stops,
        *starts,
        *_unpins(goal, new, idle, starts),
    )
    if actions or old or not len(available) == len(new) == goal.instances:
        return Plan(Verdict.GOING, actions, passed, wake_at=wake_at)
    return Plan(Verdict.DONE, passed=passed)


def retry(goal: Goal, world: World) -> tuple[Stop, ...]:
    """What to stop before a rollout that paused on a failed gate is resumed; else it would fail at once again."""
    new = [item for item in world.instances if item.state is not State.INACTIVE and _belongs(item, goal)]
    return tuple(Stop(number, goal.generation, "failed") for number in sorted(_failures(goal, new, world.passed)))


def _belongs(item: Instance, goal: Goal) -> bool:
    """Whether a running instance is the goal's, or will be once it is adopted."""
    if item.generation == goal.generation:
        return True
    return item.generation in goal.same and item.state in (State.READY, State.STARTING)


def _by_number(items: Iterable[Instance]) -> list[Instance]:
    return sorted(items, key=lambda item: item.number)


def _judge(
    goal: Goal, sound: list[Instance], remembered: frozenset[int], now: float
) -> tuple[frozenset[int], float | None]:
    """Who has passed the gate, and when the next one will have been ready for long enough."""
    passed: set[int] = set()
    later: list[float] = []
    for item in sound:
        proved = item.generation == goal.generation and item.number in remembered
        until = item.ready_since + goal.min_ready
        if proved or (item.state is State.READY and until <= now):
            passed.add(item.number)
        elif item.state is State.READY:
            later.append(until)
    return frozenset(passed), min(later, default=None)


def _failures(goal: Goal, new: list[Instance], remembered: frozenset[int]) -> dict[int, str]:
    """Instances that fail the goal, and why."""
    failures = {item.number: why for item in new if (why := _failure(goal, item, remembered))}
    down = [item for item in new if _fell(goal, item, remembered)]
    if len(down) > max(1, goal.instances // MANY) and not failures:
        # One may have been killed; several at once are the release's doing.
        why = f"instances {_listed(down)} had passed the gate and crashed" + _because(down[0])
        failures[min(item.number for item in down)] = why
    return failures


def _fell(goal: Goal, item: Instance, remembered: frozenset[int]) -> bool:
    """Whether an instance of an unproven goal that had passed the gate has crashed and is not back yet."""
    ours = item.generation == goal.generation and item.number in remembered and not goal.proven
    crashed = item.state is State.FAILED or (item.state is State.STARTING and item.restarts > 0)
    return ours and crashed


def _listed(items: list[Instance]) -> str:
    return ", ".join(str(item.number) for item in _by_number(items))


def _because(item: Instance) -> str:
    return f": {item.detail}" if item.detail else ""


def _failure(goal: Goal, item: Instance, remembered: frozenset[int]) -> str:
    """Why this instance fails the goal; empty if it does not."""
    if item.generation != goal.generation or item.state is State.STOPPING:
        return ""  # yet to be adopted; on its way out, by whomever
    if item.number in remembered:
        if item.restarts > MAX_RESTARTS and item.state is not State.READY and not goal.proven:
            return f"instance {item.number} keeps crashing{_because(item)}"
    elif item.state is State.FAILED or (item.restarts > 0 and not goal.proven):
        return f"instance {item.number} {item.detail or 'failed'}"
    return ""


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
    """Old instances whose turn it is, in order; then the goal's own that lie failed, and its surplus."""
    replaced = _replaced(goal, old, available)
    leaving = {action.number for action in replaced}
    serving = len(available) + sum(item.state is State.READY and item.number not in leaving for item in old)
    # Only those that passed are left here; systemd may yet restart them, but need not.
    broken = {item.number for item in new if item.state is State.FAILED and goal.proven}
    kept = [item for item in new if item.state is not State.STOPPING and item.number not in broken]
    return [
        *replaced,
        *(Stop(number, goal.generation, "failed") for number in sorted(broken)),
        *_surplus(goal, kept, available, serving),
    ]


def _replaced(goal: Goal, old: list[Instance], available: list[Instance]) -> list[Stop]:
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
    return stops


def _surplus(goal: Goal, kept: list[Instance], available: list[Instance], serving: int) -> list[Stop]:
    """More of the goal's instances than it asks for; one that is ready only goes while enough others serve."""
    stops: list[Stop] = []
    counted = {item.number for item in available}

    # Those that serve nobody first, then those that have yet to pass, then the most recently started.
    def turn(item: Instance) -> tuple[bool, bool, float, int]:
        return (item.state is State.READY, item.number in counted, -item.started, -item.number)

    for item in sorted(kept, key=turn)[: max(0, len(kept) - goal.instances)]:
        loss = item.number in counted
        if item.state is State.READY and serving - loss < goal.instances:
            break
        stops.append(Stop(item.number, item.generation, "surplus"))
        serving -= loss
    return stops


def _unblock(goal: Goal, new: list[Instance], old: list[Instance], available: list[Instance]) -> list[Stop]:
    """When nothing can start, nothing can stop and nothing is on its way: one that is down goes out of turn.

    An old instance that is starting is not waited for: it may be crashing again and again.
    """
    if len(available) < len(new) or any(item.state is State.STOPPING for item in old):
        return []
    down = [item for item in old if item.state is not State.READY]
    if not down or len(available) + len(old) - 1 < goal.floor:
        return []
    first = min(down, key=_stop_order(goal))
    return [Stop(first.number, first.generation, "failed" if first.state is State.FAILED else "replaced")]


def _starts(goal: Goal, new: list[Instance], old: list[Instance], idle: list[Instance]) -> list[Start]:
    """New instances, as many as the goal lacks and the ceiling allows; pinned ones first, then free numbers."""
    room = min(goal.instances - len(new), goal.ceiling - len(new) - len(old))
    if room <= 0:
        return []
    taken = {item.number for item in (*new, *old)}
    numbers = [item.number for item in _by_number(idle) if item.generation == goal.generation][:room]
    # Stopped instances keep their number free for the goal; a running one never lends its own.
    taken.update(numbers, goal.avoid)
    free = (number for number in count(1) if number not in taken)
    numbers += islice(free, room - len(numbers))
    return [Start(number, goal.generation) for number in numbers]


def _adopts(goal: Goal, passed: list[Instance]) -> list[Adopt]:
    return [
        Adopt(item.number, goal.generation, item.generation)
        for item in _by_number(passed)
        if item.generation is not None and item.generation != goal.generation
    ]


def _unpins(goal: Goal, new: list[Instance], idle: list[Instance], starts: list[Start]) -> list[Unpin]:
    """A pin without a process would come up at the next boot: the goal's own wait for their turn, others go."""
    pending = {action.number for action in starts}
    lacking = len(new) < goal.instances
    return [
        Unpin(item.number)
        for item in _by_number(idle)
        if item.number not in pending and not (lacking and item.generation == goal.generation)
    ]
