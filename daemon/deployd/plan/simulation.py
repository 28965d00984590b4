"""A simulated world that carries out the planner's actions: for the dry run, property tests and simulations.

It is driven by the same planner as systemd. Instances become ready (or fail) according to `fate`, and take as long as
`durations` say; without durations everything takes no time, and the outcome is about order alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from deployd.model.action import Action, Adopt, Freeze, Start, Stop, Thaw, Unpin
from deployd.model.instance import OUT_OF_SERVICE, Instance, State
from deployd.model.rollout import Hold
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan

TICK = 0.001
"""Seconds that pass when an action ends at once, so that starts have different times."""

Fate = Callable[[int, int], bool]
"""(instance, generation) → True if it passes the gate."""

Duration = Callable[[int, int], float]
"""(instance, generation) → seconds. An instance without a pin counts as generation 0."""

Planner = Callable[[Goal, World, float], Plan]
"""The planner: `plan`, except in comparisons."""

Until = Callable[[float, tuple[Instance, ...]], bool]
"""(seconds since the start, the world) → True to end the simulation. Called whenever time has passed."""


def no_time(_number: int, _generation: int) -> float:
    """Return a duration of 0."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Durations:
    """Durations of the actions."""

    boot: Duration = no_time
    """From the start to READY=1, of an instance that passes."""
    fail: Duration = no_time
    """From the start to the failure of an instance that does not pass: none, or the timeout of its gate."""
    stop: Duration = no_time
    """Freezing and thawing take no time: connections that have to end before do so in standby."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action with the number of instances available after it began, or a pause that was reached."""

    action: Action | Hold
    ready: int
    at: float = 0.0
    """Seconds since the start."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All actions in order, the world afterwards, and the verdict of the last plan."""

    steps: tuple[Step, ...]
    instances: tuple[Instance, ...]
    verdict: Verdict
    reason: str
    passed: frozenset[int]
    floor: int
    """The smallest number of available instances."""
    ceiling: int
    """The largest number of instances alive at a time."""
    seconds: float
    """The duration."""

    @property
    def starts(self) -> Mapping[int, int]:
        """Map generations to the number of instances that were started."""
        return Counter(step.action.generation for step in self.steps if isinstance(step.action, Start))

    @property
    def stops(self) -> tuple[int, ...]:
        """The instances that were stopped, in order."""
        return tuple(step.action.number for step in self.steps if isinstance(step.action, Stop))

    @property
    def frozen(self) -> tuple[int, ...]:
        """The instances that were put in standby, in order."""
        return tuple(step.action.number for step in self.steps if isinstance(step.action, Freeze))

    @property
    def thawed(self) -> tuple[int, ...]:
        """The instances that were taken out of standby, in order."""
        return tuple(step.action.number for step in self.steps if isinstance(step.action, Thaw))


def always(_number: int, _generation: int) -> bool:
    """Let every instance pass the gate."""
    return True


def never(_seconds: float, _instances: tuple[Instance, ...]) -> bool:
    """Let a simulation run to its end."""
    return False


def simulate(
    goal: Goal,
    instances: tuple[Instance, ...],
    *,
    passed: frozenset[int] = frozenset(),
    holds: Iterable[Hold] = (),
    fate: Fate = always,
    durations: Durations | None = None,
    planner: Planner = plan,
    until: Until = never,
    one_by_one: bool = False,
    now: float = 0.0,
    limit: int = 100_000,
) -> Outcome:
    """Run the planner until it is done, has failed, or nothing changes any more (verdict GOING).

    The rollout pauses at each of `holds`, in order, and is resumed at once. Actions that end at the same time are
    observed together, which takes few rounds, or `one_by_one`, in the order in which they began, with a plan after
    each, as in the daemon. The clock starts at `now`, or at the latest time in the instances.
    """
    began = max((now, TICK, *(max(item.started, item.ready_since) for item in instances)))
    room = _Room(began, {item.number: item for item in instances}, fate, durations or Durations(), one_by_one)
    pending = list(holds)
    steps: list[Step] = []
    low, high = len(room.world), 0
    result = Plan(Verdict.GOING)
    for _ in range(limit):
        goal = replace(goal, hold=pending[0] if pending else None)
        result = planner(goal, World(tuple(room.world.values()), passed), room.now)
        passed = result.passed
        ready = sum(_serves(item, goal, passed) for item in room.world.values())
        alive = sum(item.state not in OUT_OF_SERVICE for item in room.world.values())
        low, high = min(low, ready), max(high, alive)
        if result.verdict is Verdict.HELD:
            steps.append(Step(pending.pop(0), ready, room.now - began))
            continue
        if result.verdict is not Verdict.GOING:
            break
        for action in result.actions:
            ready -= isinstance(action, Stop | Freeze) and _serves(room.world[action.number], goal, passed)
            alive += isinstance(action, Start)  # a thawed instance needs no more memory than before
            room.begin(action)
            steps.append(Step(action, ready, room.now - began))
            low, high = min(low, ready), max(high, alive)
        if not result.actions and not room.wait(result.wake_at, goal.deadline):
            break
        room.finish()
        if until(room.now - began, tuple(room.world.values())):
            break
    world, seconds = tuple(room.world.values()), room.now - began
    return Outcome(tuple(steps), world, result.verdict, result.reason, passed, low, high, seconds)


def _serves(item: Instance, goal: Goal, passed: frozenset[int]) -> bool:
    old = item.generation != goal.generation or item.number in goal.avoid
    return item.state is State.READY and (old or item.number in passed)


class _Room:
    """The state of a simulation: instances, actions in progress, and the clock."""

    def __init__(
        self, now: float, world: dict[int, Instance], fate: Fate, durations: Durations, one_by_one: bool
    ) -> None:
        self.now = now
        self.world = world
        self._fate = fate
        self._durations = durations
        self._one_by_one = one_by_one
        self._observed = now
        self._freezing: set[int] = set()
        self._due: dict[int, float] = {}
        for item in world.values():
            self._expect(item)

    def begin(self, action: Action) -> None:
        item = self.world.get(action.number, Instance(action.number, None, State.INACTIVE))
        match action:
            case Start(number, generation):
                item = Instance(number, generation, State.STARTING, started=self.now)
            case Stop():
                item = replace(item, state=State.DRAINING if action.drain else State.STOPPING)
            case Freeze(number):
                item = replace(item, state=State.STOPPING)
                self._freezing.add(number)
            case Thaw():
                item = replace(item, state=State.READY)
            case Adopt(_, generation):
                item = replace(item, generation=generation)
            case Unpin():
                item = replace(item, generation=None)
        self.world[action.number] = item
        if isinstance(action, Start | Stop | Freeze):
            self._expect(item)

    def wait(self, wake_at: float | None, deadline: float | None) -> bool:
        """Advance the clock to the next event; False if there is none. Do not wait for a deadline alone."""
        moments = list(self._due.values())
        if wake_at is not None and (moments or wake_at != deadline):
            moments.append(wake_at)
        self.now = max(self.now, min(moments, default=self.now))
        return bool(moments)

    def finish(self) -> None:
        """Complete the actions that are due, in the order in which they began."""
        arrived = sorted((number for number, due in self._due.items() if due <= self.now), key=self._due.__getitem__)
        for number in arrived[:1] if self._one_by_one else arrived:
            self.world[number] = self._at_its_end(self.world[number])
            del self._due[number]
        if arrived and self.now == self._observed:
            self.now += TICK
        self._observed = self.now

    def _expect(self, item: Instance) -> None:
        key = item.number, item.generation or 0
        if item.state in (State.STOPPING, State.DRAINING):
            self._due[item.number] = self.now + (0 if item.number in self._freezing else self._durations.stop(*key))
        elif item.state is State.STARTING:
            takes = self._durations.boot if self._fate(*key) else self._durations.fail
            self._due[item.number] = max(self.now, item.started + takes(*key))

    def _at_its_end(self, item: Instance) -> Instance:
        if item.number in self._freezing:
            self._freezing.discard(item.number)
            return replace(item, state=State.STANDBY)
        if item.state in (State.STOPPING, State.DRAINING):
            return Instance(item.number, None, State.INACTIVE)
        if self._fate(item.number, item.generation or 0):
            return replace(item, state=State.READY, ready_since=self.now, probed_since=self.now)
        return replace(item, state=State.FAILED, detail="failed")
