"""The planner: computes the next actions from a goal and the observed world.

``plan(goal, world, now)`` is total and pure. It is called again after every change of the world, so rolling forward,
recovering from a crash, scaling and rolling back are one code path. Its rules:

- An instance of the goal counts once it has passed the gate (see `judge`).
- An instance that runs an identical process under another generation is adopted once it is ready, however it was
  started. One that is still starting is waited for; one that failed is replaced like an old one.
- An old instance is stopped only if afterwards at least `floor` instances are available, and the remaining old
  instances and the new ones that passed are together no fewer than `floor`.
- Old instances are stopped newest generation first, then most recently started first (or the other way round). One
  that is not ready may be stopped out of order, but only if nothing else is possible.
- One instance of an unproven goal may be down at a time after it passed (of many, one in twenty); more fail the goal.
  Without `min_ready` this is what stops a release that crashes soon after READY=1.
- No more than `ceiling` instances are alive, except those that already are.
- Without `overlap` this holds whatever dies when: pins are removed before an instance is started, and nothing else is
  pinned, so that neither a boot nor an automatic restart starts another instance. Each start names the number, which
  is checked once more against the processes that there are.
- At a hold (a canary, a pause_after) only as many new instances are started as it names, and as many old ones stay as
  it keeps: the verdict is HELD as long as that is the case.
- An instance that had passed and whose later start failed is stopped and started again. A proven goal tolerates more:
  this applies to any failed instance that had passed, and only if this start fails too, the goal fails. (Whether
  systemd will restart a crashed instance cannot be known: it reports failed for an instant before each automatic
  restart.)
- A ready old instance of the generation `standby` is frozen instead of stopped. In standby it is neither old nor new:
  it counts for neither floor nor ceiling, and nothing waits for it.
- With `drains`, a ready instance that is stopped drains: it is neither old nor new from then on, nothing waits for it,
  and it counts for neither floor nor ceiling. It only finishes what it has begun, for up to an hour, and a release that
  waited for that could be the one that corrects it. Without `overlap` one that drains leaves no room for another.
- Instances in standby that the goal can use are thawed before any other is started, all that are needed at a time:
  `max_surge` limits the resources of boots, and thawing is no boot. Instances in standby of another generation, kept
  for longer than one rollout, are stopped first; nothing is started before, because they use memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, islice

from deployd.model.action import Action, Adopt, Freeze, Start, Stop, Thaw, Unpin
from deployd.model.failure import Failure
from deployd.model.instance import Instance, State
from deployd.model.instances import Instances
from deployd.model.pace import Order
from deployd.plan import judge
from deployd.plan.goal import Goal
from deployd.plan.judge import Side


class Verdict(StrEnum):
    """The state of the goal."""

    GOING = "going"
    DONE = "done"
    HELD = "held"
    """Everything that may be done before a resume is done."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class World:
    """The observed instances, and those of the goal that passed the gate, as the rollout remembers them."""

    instances: tuple[Instance, ...]
    passed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. With FAILED there are no actions; the caller decides what follows."""

    verdict: Verdict
    actions: tuple[Action, ...] = ()
    passed: frozenset[int] = frozenset()
    """Must be saved before the actions begin, because adopted instances are recognised by it."""
    failure: Failure | None = None
    unfit: tuple[Failure, ...] = ()
    """Failures of instances that may have failed for a reason of their own: their numbers must not be used again."""
    wake_at: float | None = None
    """When to plan again even if nothing changes (CLOCK_MONOTONIC seconds)."""

    @property
    def culprit(self) -> int | None:
        """The instance that failed."""
        return self.failure.instance if self.failure is not None else None

    @property
    def reason(self) -> str:
        """Why the goal failed, "" if it did not."""
        return self.failure.reason if self.failure is not None else ""


def plan(goal: Goal, world: World, now: float) -> Plan:
    """Return the next actions towards `goal`. `now` is in CLOCK_MONOTONIC seconds."""
    instances = Instances.of(world.instances)
    new, old = judge.divided(instances, goal, now)
    idle = [item for item in instances.others if item.state is State.INACTIVE and item.generation is not None]

    failed = judge.failures(goal, new.others, world.passed, now)
    passed, wake_at = judge.passed(goal, new, failed, world.passed, now)
    available = _available(new, passed)
    reached = available >= goal.instances or (goal.hold is not None and len(passed) >= goal.wanted)
    resting = [item for item in instances.others if item.state is State.STANDBY]
    passed |= {item.number for item in resting if judge.has_proved(goal, item, world.passed)}
    unfit = tuple(failure for number, failure in sorted(failed.items()) if number in goal.special)
    if unfit:
        left = (Stop(number, goal.generation, "failed") for number in sorted(failed) if number in goal.special)
        return Plan(Verdict.GOING, tuple(left), passed, unfit=unfit)
    if failed:
        return Plan(Verdict.FAILED, passed=passed, failure=failed[min(failed)])
    if goal.deadline is not None and not reached:
        if now >= goal.deadline:
            return Plan(Verdict.FAILED, passed=passed, failure=judge.late(goal, new.ready(), goal.allowed))
        wake_at = goal.deadline if wake_at is None else min(wake_at, goal.deadline)

    ours = [item for item in _by_number(resting) if judge.rests_for(item, goal)]
    thaws = [Thaw(item.number, item.generation) for item in _thawed(goal, new, ours) if item.generation is not None]
    outdated = _outdated(goal, resting, ours, available)
    stops = _stops(goal, new, old, passed, available)
    draining = [item for item in instances.others if item.state is State.DRAINING]
    starts = [] if thaws or outdated else _starts(goal, new, old, idle, resting, draining)
    if not (starts or stops or thaws or outdated):
        stops = _unblock(goal, new, old, available)
    leaving = {action.number for action in stops}
    unpins = _unpins(goal, new, idle, starts)
    actions: tuple[Action, ...] = (
        *_adopts(goal, new, passed - leaving),
        *thaws,
        *outdated,
        *stops,
        *(() if goal.overlap else unpins),
        *starts,
        *(unpins if goal.overlap else ()),
    )
    if goal.hold is not None and not actions and available == len(new) >= goal.wanted:
        settled = not any(item.state is State.STOPPING for item in old.others)
        return Plan(Verdict.HELD if settled else Verdict.GOING, passed=passed, wake_at=wake_at)
    if actions or old or not available == len(new) == goal.instances:
        return Plan(Verdict.GOING, actions, passed, wake_at=wake_at)
    return Plan(Verdict.DONE, passed=passed)


def retry(goal: Goal, world: World, now: float) -> tuple[Stop, ...]:
    """Return what to stop before a rollout paused by a failed gate is resumed, because it would fail again at once."""
    new, _ = judge.divided(world.instances, goal, now)
    others, leaving = new.others, set[int]()
    # Of several that have crashed, the first one is reported at a time.
    while failed := judge.failures(goal, others, world.passed, now):
        leaving |= failed.keys()
        others = [item for item in others if item.number not in leaving]
    return tuple(Stop(number, goal.generation, "failed") for number in sorted(leaving))


def _available(new: Side, passed: frozenset[int]) -> int:
    """Return how many instances of the goal are ready and have passed."""
    others = sum(item.number in passed and item.state is State.READY for item in new.others)
    return others + sum(len(passed & group.numbers()) for group in new.settled)


def _by_number(items: Iterable[Instance]) -> list[Instance]:
    return sorted(items, key=lambda item: item.number)


def _stop_order(goal: Goal) -> Callable[[Instance], tuple[int, float, int]]:
    sign = -1 if goal.order is Order.NEWEST_OLD_FIRST else 1

    def key(item: Instance) -> tuple[int, float, int]:
        # An instance without a pin counts as older than any generation; the number decides between equal starts.
        return (sign * (item.generation or 0), sign * item.started, sign * item.number)

    return key


def _thawed(goal: Goal, new: Side, ours: list[Instance]) -> list[Instance]:
    """Return the instances in standby that the goal needs."""
    return ours[: max(0, goal.wanted - len(new))]


def _outdated(goal: Goal, resting: list[Instance], ours: list[Instance], available: int) -> list[Stop]:
    """Return stops of instances in standby that are not needed any more.

    These are instances of generations other than the one being replaced and, once enough instances are available, the
    remaining ones of the goal. A goal that only adopts replaces no generation, so standby stays unchanged.
    """
    enough = available >= goal.instances
    mine = {item.number for item in ours}
    others = [item for item in resting if item.number not in mine]
    if goal.standby is not None and goal.standby in goal.same:
        kept = max((item.generation for item in others if item.generation is not None), default=None)
    else:
        kept = goal.standby
    going = [item for item in others if item.generation is None or item.generation != kept]
    return [
        *(Stop(item.number, item.generation) for item in sorted(going, key=_stop_order(goal))),
        *(Stop(item.number, item.generation, "surplus") for item in ours if enough),
    ]


def _stops(goal: Goal, new: Side, old: Side, passed: frozenset[int], available: int) -> list[Stop | Freeze]:
    """Return stops of old instances, in order, then of failed instances of the goal, then of its surplus."""
    replaced, ready_leaving = _replaced(goal, old, available)
    serving = available + old.ready() - ready_leaving
    # All of these have passed before. For an unproven goal automatic restarts are waited for, because they are counted.
    broken = {item.number for item in new.others if item.state is State.FAILED and (goal.proven or item.refused)}
    going = sum(item.state is State.STOPPING or item.number in broken for item in new.others)
    surplus = []
    if len(new) - going > goal.instances:
        kept = [item for item in new if item.state is not State.STOPPING and item.number not in broken]
        surplus = _surplus(goal, kept, passed, serving)
    return [*replaced, *(Stop(number, goal.generation, "failed") for number in sorted(broken)), *surplus]


def _replaced(goal: Goal, old: Side, available: int) -> tuple[list[Stop | Freeze], int]:
    """Return stops of old instances, in order, and how many of these instances are ready."""
    stops: list[Stop | Freeze] = []
    ready = 0
    serving = available + old.ready()
    left = len(old) - sum(item.state is State.STOPPING for item in old.others)
    standing = available + left
    for item in old.in_order(_stop_order(goal), latest_first=goal.order is Order.NEWEST_OLD_FIRST):
        if item.state is State.STOPPING:
            continue
        if left - 1 < goal.kept:
            break
        loss = item.state is State.READY
        if (loss and serving - 1 < goal.floor) or standing - 1 < goal.floor:
            break
        stops.append(_stop_or_freeze(goal, item))
        ready += loss
        serving -= loss
        standing -= 1
        left -= 1
    return stops, ready


def _stop_or_freeze(goal: Goal, item: Instance) -> Stop | Freeze:
    """Return the action that takes an old instance out of service.

    Only a ready instance whose process differs from the goal's is worth keeping: an identical one that is replaced
    instead of adopted has failed its probe.
    """
    keep = item.state is State.READY and item.generation == goal.standby and item.generation not in goal.same
    if keep and item.generation is not None:
        return Freeze(item.number, item.generation)
    return _stop(goal, item, "replaced")


def _stop(goal: Goal, item: Instance, why: str) -> Stop:
    drains = goal.drains and item.state is State.READY and item.generation is not None
    return Stop(item.number, item.generation, why, drain=drains)


def _surplus(goal: Goal, kept: list[Instance], passed: frozenset[int], serving: int) -> list[Stop]:
    """Return stops of surplus instances of the goal; a ready one is stopped only if enough others serve."""
    stops: list[Stop] = []

    # Those that are not ready first, then those that have yet to pass, then the most recently started.
    def turn(item: Instance) -> tuple[bool, bool, float, int]:
        return (item.state is State.READY, _counts(item, passed), -item.started, -item.number)

    for item in sorted(kept, key=turn)[: len(kept) - goal.instances]:
        loss = _counts(item, passed)
        if item.state is State.READY and serving - loss < goal.instances:
            break
        stops.append(_stop(goal, item, "surplus"))
        serving -= loss
    return stops


def _counts(item: Instance, passed: frozenset[int]) -> bool:
    return item.state is State.READY and item.number in passed


def _unblock(goal: Goal, new: Side, old: Side, available: int) -> list[Stop | Freeze]:
    """Stop one old instance that is not ready out of order, if nothing else can start or stop and none is stopping.

    An old instance that is starting is not waited for, because it may be in a crash loop.
    """
    if available < len(new) or any(item.state is State.STOPPING for item in old.others):
        return []
    down = [item for item in old.others if item.state is not State.READY]
    if not down or available + len(old) - 1 < goal.floor or len(old) - 1 < goal.kept:
        return []
    first = min(down, key=_stop_order(goal))
    return [Stop(first.number, first.generation, "failed" if first.state is State.FAILED else "replaced")]


def _starts(
    goal: Goal, new: Side, old: Side, idle: list[Instance], resting: list[Instance], draining: list[Instance]
) -> list[Start]:
    """Return starts of as many instances as the goal lacks and the ceiling allows: pinned ones, then free numbers."""
    alive = len(new) + len(old) + (0 if goal.overlap else len(draining))
    room = min(goal.wanted - len(new), goal.ceiling - alive)
    if room <= 0:
        return []
    taken = {item.number for item in (*new.others, *old.others, *resting, *draining)}
    taken.update(*(group.numbers() for group in (*new.settled, *old.settled)))
    ours = [item.number for item in _by_number(idle) if item.generation == goal.generation]
    unfit = goal.avoid | goal.masked
    numbers = [number for number in ours if number not in unfit][:room]
    # The numbers of stopped instances are free, those of running and frozen ones are not.
    taken.update(numbers, unfit)
    free = (number for number in count(1) if number not in taken)
    numbers += islice(free, room - len(numbers))
    most = None if goal.overlap else goal.instances
    return [Start(number, goal.generation, most) for number in numbers]


def _adopts(goal: Goal, new: Side, passed: frozenset[int]) -> list[Adopt]:
    """Return adoptions of the instances that have passed under another generation."""
    others = [item for item in new.others if item.generation != goal.generation]
    groups = [group for group in new.settled if group.generation != goal.generation]
    return [
        Adopt(item.number, goal.generation, item.generation)
        for item in _by_number(Side(others, tuple(groups)))
        if item.number in passed and item.generation is not None
    ]


def _unpins(goal: Goal, new: Side, idle: list[Instance], starts: list[Start]) -> list[Unpin]:
    """Return unpins of instances that do not run, because they would start at the next boot.

    Those of the goal that will be started later keep their pins, unless they would be too many with those that run.
    """
    pending = {action.number for action in starts}
    lacking = len(new) < goal.instances and goal.overlap
    waiting = {item.number for item in idle if lacking and item.generation == goal.generation}
    waiting -= goal.avoid | goal.masked
    return [Unpin(item.number) for item in _by_number(idle) if item.number not in pending | waiting]
