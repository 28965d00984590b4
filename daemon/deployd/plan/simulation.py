"""A world in which the planner's actions happen: for the dry run, for property tests, for simulations.

The same planner drives it as drives systemd. Instances come up (or fail) as `fate` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from deployd.model.action import Action, Adopt, Start, Stop, Unpin
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan

Fate = Callable[[int, int], bool]
"""(instance, generation) → does it pass the gate?"""


@dataclass(frozen=True, slots=True)
class Step:
    """One action and how many instances were available once it had been begun."""

    action: Action
    ready: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every action in order, the world afterwards, and how the plan ended."""

    steps: tuple[Step, ...]
    instances: tuple[Instance, ...]
    verdict: Verdict
    reason: str
    passed: frozenset[int]
    floor: int
    """The least number of available instances on the way."""
    ceiling: int
    """The largest number alive at once."""


def always(_number: int, _generation: int) -> bool:
    """The fate of an instance of a good release."""
    return True


def simulate(
    goal: Goal,
    instances: tuple[Instance, ...],
    *,
    passed: frozenset[int] = frozenset(),
    fate: Fate = always,
    now: float = 0.0,
    limit: int = 100_000,
) -> Outcome:
    """Run the planner until it is done, has failed or nothing moves any more (verdict GOING)."""
    world = {item.number: item for item in instances}
    steps: list[Step] = []
    low, high = _ready(world, goal, passed), _alive(world)
    result = Plan(Verdict.GOING)
    for _ in range(limit):
        result = plan(goal, World(tuple(world.values()), passed), now)
        passed = result.passed
        if result.verdict is not Verdict.GOING:
            break
        for action in result.actions:
            _begin(world, action, now)
            steps.append(Step(action, _ready(world, goal, passed)))
            low, high = min(low, _ready(world, goal, passed)), max(high, _alive(world))
        if not result.actions and not _finish_one(world, fate, now):
            if result.wake_at is None or (goal.deadline is not None and result.wake_at >= goal.deadline):
                break
            now = max(now, result.wake_at)
        now += 0.001
    return Outcome(tuple(steps), tuple(world.values()), result.verdict, result.reason, passed, low, high)


def _ready(world: dict[int, Instance], goal: Goal, passed: frozenset[int]) -> int:
    return sum(
        item.state is State.READY and (item.generation != goal.generation or item.number in passed)
        for item in world.values()
    )


def _alive(world: dict[int, Instance]) -> int:
    return sum(item.state is not State.INACTIVE for item in world.values())


def _begin(world: dict[int, Instance], action: Action, now: float) -> None:
    match action:
        case Start(number, generation):
            world[number] = Instance(number, generation, State.STARTING, started=now)
        case Stop(number):
            world[number] = replace(world[number], state=State.STOPPING)
        case Adopt(number, generation):
            world[number] = replace(world[number], generation=generation)
        case Unpin(number):
            world[number] = replace(world[number], generation=None)


def _finish_one(world: dict[int, Instance], fate: Fate, now: float) -> bool:
    """Let the next thing under way come to its end: stops first, they are quick."""
    for item in sorted(world.values(), key=lambda item: (item.state is not State.STOPPING, item.started, item.number)):
        if item.state is State.STOPPING:
            world[item.number] = Instance(item.number, None, State.INACTIVE)
            return True
        if item.state is State.STARTING:
            if fate(item.number, item.generation or 0):
                world[item.number] = replace(item, state=State.READY, ready_since=now)
            else:
                world[item.number] = replace(item, state=State.FAILED, detail="failed")
            return True
    return False
