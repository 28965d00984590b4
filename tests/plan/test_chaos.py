"""Whole rollouts on a simulated host with random faults (chaos.py): they end, and in the expected state."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.action import Freeze, Stop
from deployd.model.gate import Gate
from deployd.model.generation import Result
from deployd.model.instance import Instance, State
from deployd.model.pace import Amount, Order, Pace
from deployd.model.rollout import Hold, Rollout
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, World
from tests.plan.chaos import Chaos
from tests.plan.worlds import alive, app, available, begun, stopped, turn

ORIGIN, TARGET = 4, 5

seeds = st.integers(0, 2**32 - 1)
"""Seeds instead of generators, so that a failing case is printed and can be repeated."""
some = settings(max_examples=120, deadline=None)


def goal_of(chance: random.Random, generation: int, most: int, same: frozenset[int] = frozenset()) -> Goal:
    pace = Pace(
        max_surge=chance.choice((Amount(chance.randint(0, 4)), Amount(chance.randint(0, 60), percent=True))),
        max_unavailable=chance.choice((Amount(0), Amount(1), Amount(chance.randint(0, 60), percent=True))),
        order=chance.choice(tuple(Order)),
    )
    gate = Gate(min_ready=chance.choice((0.0, 0.0, 5.0)))
    settings = app(chance.randint(1, most), pace=pace, gate=gate)
    goal = Goal.of(settings, generation, same=same, proven=generation == ORIGIN)
    goal = replace(goal, drains=chance.random() < 0.5)
    return replace(goal, standby=ORIGIN if generation == TARGET and chance.random() < 0.5 else None)


def left_over(chance: random.Random, number: int) -> Instance:
    """Return an instance that another rollout may have left behind."""
    state = chance.choice(tuple(State))
    generation = chance.choice((None, 1, 2, 3, ORIGIN, ORIGIN))
    started = chance.uniform(0, 999)
    return Instance(number, generation, state, started, started if state is State.READY else 0.0, chance.randint(0, 9))


def serving(chance: random.Random, number: int) -> Instance:
    started = chance.uniform(0, 900)
    return Instance(number, ORIGIN, State.READY, started, started + 1, chance.choice((0, 0, 7)))


def chaos(chance: random.Random, most: int = 8, **changes: object) -> Chaos:
    """Return a rollout from ORIGIN to TARGET, in an arbitrary world."""
    same = chance.choice((frozenset[int](), frozenset[int](), frozenset({ORIGIN})))
    target = goal_of(chance, TARGET, most, same)
    origin = goal_of(chance, ORIGIN, most, frozenset({TARGET}) if same else same)
    numbers = chance.sample(range(1, most + 4), chance.randint(0, most))
    tidy = chance.random() < 0.5
    world = {number: (serving if tidy else left_over)(chance, number) for number in numbers}
    holds = tuple(
        Hold(new, chance.random() < 0.5) for new in sorted(chance.sample(range(1, most), chance.choice((0, 0, 1, 2))))
    )
    made = Chaos(chance, world, Rollout("shop", ORIGIN, TARGET, holds=holds), target, origin)
    return replace(made, **changes)  # type: ignore[arg-type]  # any of its fields


def steps(chaos: Chaos) -> int:
    """Return a number of steps ample for any rollout, so that a livelock fails."""
    return 400 + 100 * (len(chaos.world) + chaos.target.instances + chaos.origin.instances)


def assert_only(chaos: Chaos, goal: Goal) -> None:
    """Check that exactly the goal's instances run, all ready, and no other would start at the next boot.

    Instances of one other generation may be in standby.
    """
    running = alive(chaos.world.values())
    assert len(running) == goal.instances
    assert {(item.generation, item.state) for item in running} <= {(goal.generation, State.READY)}
    assert not [item for item in chaos.world.values() if item.state is State.INACTIVE and item.generation is not None]
    rests = {item.generation for item in chaos.world.values() if item.state is State.STANDBY}
    assert len(rests) <= 1
    assert goal.standby is not None or not rests
    assert goal.generation not in rests


def watch(goal: Goal, world: World, plan: Plan) -> None:
    """Check floor, ceiling and order, whatever has happened to the world between two plans."""
    before = available(world.instances, goal, plan.passed)
    assert len(before - stopped(plan)) >= min(len(before), goal.floor)
    count = len(alive(world.instances))
    assert not begun(plan) or count + len(begun(plan)) <= goal.ceiling
    old = [i for i in world.instances if i.state is State.READY and i.generation not in {goal.generation, *goal.same}]
    old.sort(key=lambda item: turn(item, goal))
    leaving = [item for item in old if item.number in stopped(plan)]
    assert old[: len(leaving)] == leaving


@some
@given(seeds)
def test_a_good_release_succeeds_despite_faults(seed: int) -> None:
    """At most one crash, because several at a time fail the release."""
    chance = random.Random(seed)
    run = chaos(chance, trouble=chance.randint(0, 1), crashes=False, observer=watch)
    run.world = {n: replace(item, restarts=0) for n, item in run.world.items()}
    assert run.run(steps(run)) is Result.SUCCEEDED
    assert_only(run, run.target)


@some
@given(seeds)
def test_a_bad_release_is_rolled_back_despite_faults(seed: int) -> None:
    chance = random.Random(seed)
    run = chaos(chance, trouble=chance.randint(0, 20), crashes=False, bad=frozenset({TARGET}), observer=watch)
    run.target = replace(run.target, same=frozenset())
    run.origin = replace(run.origin, same=frozenset())
    assert run.run(steps(run)) is Result.ROLLED_BACK
    assert_only(run, run.origin)


@some
@given(seeds)
def test_every_rollout_ends_even_if_any_instance_may_crash(seed: int) -> None:
    chance = random.Random(seed)
    bad = frozenset(chance.sample((ORIGIN, TARGET), chance.randint(0, 2)))
    run = chaos(chance, trouble=chance.randint(0, 60), bad=bad, forgetful=chance.random() < 0.5, observer=watch)
    result = run.run(steps(run) + 2000)
    assert result in (Result.SUCCEEDED, Result.ROLLED_BACK, Result.FAILED)
    if result is not Result.FAILED:
        assert_only(run, run.target if result is Result.SUCCEEDED else run.origin)


@some
@given(seeds)
def test_a_rollback_keeps_healthy_instances(seed: int) -> None:
    """The instances of the origin that were ready when the gate failed are the same processes at the end."""
    chance = random.Random(seed)
    run = chaos(chance, bad=frozenset({TARGET}))
    size = run.origin.instances
    run.target = replace(run.target, same=frozenset(), instances=chance.randint(size, size + 2))
    run.origin = replace(run.origin, same=frozenset())
    run.world = {n: replace(i, number=n) for n, i in list(run.world.items())[:size]}
    kept: dict[int, float] = {}

    def observe(goal: Goal, world: World, plan: Plan) -> None:
        if goal.generation == ORIGIN:
            if not kept:
                kept.update(
                    {i.number: i.started for i in world.instances if i.state is State.READY and i.generation == ORIGIN}
                )
                kept[0] = 0.0
            assert not {action.number for action in plan.actions} & set(kept)
            starts = {i.number: i.started for i in world.instances}
            assert all(starts[number] == started for number, started in kept.items() if number)

    run.observer = observe
    assert run.run(steps(run)) is Result.ROLLED_BACK
    assert_only(run, run.origin)


@some
@given(seeds)
def test_adoption_restarts_nothing(seed: int) -> None:
    """With an identical process and another number of instances only the difference starts or stops."""
    chance = random.Random(seed)
    size = chance.randint(1, 8)
    run = chaos(chance)
    run.world = {number: serving(chance, number) for number in chance.sample(range(1, 12), size)}
    run.target = replace(run.target, same=frozenset({ORIGIN}))
    before = {item.number: item.started for item in run.world.values()}
    touched: set[int] = set()
    run.observer = lambda _goal, _world, plan: touched.update(begun(plan) | stopped(plan))
    assert run.run(steps(run)) is Result.SUCCEEDED
    assert_only(run, run.target)
    assert len(touched) == abs(run.target.instances - size)
    kept = {n: item.started for n, item in run.world.items() if n in before and item.state is State.READY}
    assert kept.items() <= before.items()
    assert len(kept) == min(size, run.target.instances)


@some
@given(seeds)
def test_without_faults_all_stops_are_in_order(seed: int) -> None:
    chance = random.Random(seed)
    run = chaos(chance)
    run.world = {
        n: replace(serving(chance, n), generation=chance.randint(1, 4)) for n in range(1, chance.randint(2, 9))
    }
    run.target = replace(run.target, same=frozenset())
    old = sorted(run.world.values(), key=lambda item: turn(item, run.target))
    seen: list[int] = []

    def observe(_goal: Goal, _world: World, plan: Plan) -> None:
        seen.extend(a.number for a in plan.actions if isinstance(a, Stop | Freeze) and a.generation != TARGET)

    run.observer = observe
    assert run.run(steps(run)) is Result.SUCCEEDED
    assert seen == [item.number for item in old]


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_a_good_release_of_forty_instances_succeeds(seed: int) -> None:
    chance = random.Random(seed)
    run = chaos(chance, most=40, trouble=1, crashes=False, observer=watch)
    run.world = {n: replace(item, restarts=0) for n, item in run.world.items()}
    assert run.run(steps(run)) is Result.SUCCEEDED
    assert_only(run, run.target)
