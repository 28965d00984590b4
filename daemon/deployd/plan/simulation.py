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

TICK = 0.001
"""Seconds that a round of the simulation takes."""

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
    """Run the planner until it is done, has failed or nothing moves any more (verdict GOING).

    The clock starts at `now`, or at the latest time that the instances know of.
    """
    now = max((now, *(max(item.started, item.ready_since) for item in instances)))
    world = {item.number: item for item in instances}
    steps: list[Step] = []
    low, high = len(world), 0
    result = Plan(Verdict.GOING)
    for _ in range(limit):
        result = plan(goal, World(tuple(world.values()), passed), now)
        passed = result.passed
        ready = sum(_serves(item, goal, passed) for item in world.values())
        alive = sum(item.state is not State.INACTIVE for item in world.values())
        low, high = min(low, ready), max(high, alive)
        if result.verdict is not Verdict.GOING:
            break
        for action in result.actions:
            ready -= isinstance(action, Stop) and _serves(world[action.number], goal, passed)
            alive += isinstance(action, Start)
            _begin(world, action, now)
            steps.append(Step(action, ready))
            low, high = min(low, ready), max(high, alive)
        if not _finish(world, fate, now) and not result.actions:
            if result.wake_at is None or result.wake_at == goal.deadline:
                break
            now = result.wake_at
        now += TICK
    return Outcome(tuple(steps), tuple(world.values()), result.verdict, result.reason, passed, low, high)


def _serves(item: Instance, goal: Goal, passed: frozenset[int]) -> bool:
    return item.state is State.READY and (item.generation != goal.generation or item.number in passed)


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


def _finish(world: dict[int, Instance], fate: Fate, now: float) -> bool:
    """Let everything under way come to its end; False if nothing was."""
    under_way = [item for item in world.values() if item.state in (State.STARTING, State.STOPPING)]
    for item in under_way:
        if item.state is State.STOPPING:
            world[item.number] = Instance(item.number, None, State.INACTIVE)
        elif fate(item.number, item.generation or 0):
            world[item.number] = replace(item, state=State.READY, ready_since=now)
        else:
            world[item.number] = replace(item, state=State.FAILED, detail="failed")
    return bool(under_way)
