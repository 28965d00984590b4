"""overlap = false: never more than `instances` are alive, stopping ones included, whatever dies when."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import Refused
from deployd.model.action import Start, Stop, Unpin
from deployd.model.generation import Result
from deployd.model.instance import Instance, State
from deployd.model.pace import Amount, Pace
from deployd.model.rollout import Hold, Rollout
from deployd.plan.goal import Goal, canary
from deployd.plan.planner import Plan, Verdict, World, plan
from tests.plan.chaos import Chaos
from tests.plan.test_chaos import ORIGIN, TARGET, seeds, serving, some, steps
from tests.plan.test_properties import anything
from tests.plan.worlds import GENERATION, NOW, alive, app, begun, idle, pools, ready, starting, stopping


def alone(generation: int, instances: int = 1, *, proven: bool = False) -> Goal:
    return Goal.of(app(instances).without_overlap(), generation, proven=proven)


def test_the_old_one_ends_before_the_new_one_starts() -> None:
    goal = alone(GENERATION)
    assert (goal.ceiling, goal.floor) == (1, 0)
    assert plan(goal, World((ready(1, 4),)), NOW).actions == (Stop(1, 4),)
    assert plan(goal, World((stopping(1, 4),)), NOW).actions == ()
    assert plan(goal, World((idle(1, None),)), NOW).actions == (Start(1, GENERATION, most=1),)
    assert plan(goal, World((starting(1, GENERATION),)), NOW).actions == ()


def test_when_the_new_one_fails_it_ends_before_the_old_generation_starts_again() -> None:
    fallen = Instance(1, GENERATION, State.FAILED, detail="exited with 1")
    assert plan(alone(GENERATION), World((fallen,)), NOW).verdict is Verdict.FAILED
    back = alone(4, proven=True)
    assert plan(back, World((fallen,)), NOW).actions == (Stop(1, GENERATION),)
    assert plan(back, World((stopping(1, GENERATION),)), NOW).actions == ()
    assert plan(back, World((idle(1, None),)), NOW).actions == (Start(1, 4, most=1),)


def test_what_is_pinned_and_down_is_unpinned_before_a_start() -> None:
    """A boot between the two would start both."""
    assert plan(alone(GENERATION), World((idle(3, 4),)), NOW).actions == (Unpin(3), Start(1, GENERATION, most=1))
    waiting = World((idle(1, GENERATION), stopping(2, 4)))
    assert plan(alone(GENERATION), waiting, NOW).actions == (Unpin(1),)


def test_a_canary_is_refused() -> None:
    with pytest.raises(Refused, match="overlap = false"):
        canary(app(4).without_overlap(), 1)


@anything
@given(pools(), st.integers(1, 8), st.booleans(), st.booleans())
def test_no_more_are_alive_or_would_be_after_a_boot(
    pool: tuple[Instance, ...], instances: int, proven: bool, passed: bool
) -> None:
    goal = alone(GENERATION, instances, proven=proven)
    pool = tuple(replace(item, state=State.READY) if item.state is State.STANDBY else item for item in pool)
    made = plan(goal, World(pool, frozenset(item.number for item in pool) if passed else frozenset()), NOW)
    running = {item.number for item in alive(pool)}
    assert len(running | begun(made)) <= max(instances, len(running))
    pinned = {item.number for item in pool if item.generation is not None}
    for action in made.actions:  # in this order, and the power may fail between any two of them
        if isinstance(action, Unpin):
            pinned.discard(action.number)
        elif isinstance(action, Start):
            assert len(running | pinned | {action.number}) <= max(instances, len(running | {action.number}))
            pinned.add(action.number)
    assert all(action.most == instances for action in made.actions if isinstance(action, Start))


@some
@given(seeds)
def test_no_fault_makes_them_more(seed: int) -> None:
    chance = random.Random(seed)
    instances = chance.randint(1, 4)
    pace = Pace(max_unavailable=Amount(chance.randint(0, 4)))
    target, origin = (
        Goal.of(app(instances, pace=pace).without_overlap(), number, proven=number == ORIGIN)
        for number in (TARGET, ORIGIN)
    )
    world = {number: serving(chance, number) for number in range(1, instances + 1)}
    most = 0

    def look(_goal: Goal, seen: World, _plan: Plan) -> None:
        nonlocal most
        most = max(most, len(alive(seen.instances)))

    chaos = Chaos(
        chance,
        world,
        Rollout("shop", ORIGIN, TARGET, holds=(Hold(1),) if chance.random() < 0.3 and instances > 1 else ()),
        target,
        origin,
        bad=chance.choice((frozenset[int](), frozenset({TARGET}))),
        trouble=chance.randint(0, 12),
        forgetful=True,
        observer=look,
    )
    result = chaos.run(steps(chaos))
    look(target, World(tuple(chaos.world.values())), Plan(Verdict.GOING))
    assert most <= instances
    assert result in (Result.SUCCEEDED, Result.ROLLED_BACK, Result.FAILED)
