"""The simulated world: what the dry run prints, and rollouts of a size that no test host has."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings

from deployd.model.action import Stop
from deployd.model.app import Amount, Pace
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Verdict
from deployd.plan.simulation import simulate
from tests.unit.plan_worlds import GENERATION, alive, app, available, failed, goals, pools, ready


def many(count: int) -> tuple[Instance, ...]:
    return tuple(ready(number, 1, started=float(number)) for number in range(1, count + 1))


@settings(max_examples=100, deadline=None)
@given(pools(), goals())
def test_a_good_release_is_done_and_within_its_bounds(pool: tuple[Instance, ...], goal: Goal) -> None:
    left = tuple(i for i in pool if i.generation != GENERATION)
    done = simulate(goal, left, now=1000.0, limit=1000)
    assert done.verdict is Verdict.DONE
    assert [(i.generation, i.state) for i in alive(done.instances)] == [(GENERATION, State.READY)] * goal.instances
    assert done.floor >= min(goal.floor, len(available(left, goal, frozenset())))
    assert done.ceiling <= max(goal.ceiling, len(alive(left)))


@settings(max_examples=60, deadline=None)
@given(goals())
def test_a_bad_release_fails_and_the_way_back_is_done(goal: Goal) -> None:
    old = tuple(ready(number, 1, started=float(number)) for number in range(1, goal.instances + 1))
    target = Goal(GENERATION, goal.instances, goal.max_surge, goal.max_unavailable, goal.order, goal.min_ready)
    bad = simulate(target, old, fate=lambda _number, generation: generation == 1, now=1000.0)
    assert bad.verdict is Verdict.FAILED
    up = frozenset(i.number for i in bad.instances if i.generation == 1)
    assert len(up) >= goal.floor
    origin = Goal(1, goal.instances, goal.max_surge, goal.max_unavailable, goal.order, goal.min_ready, proven=True)
    back = simulate(origin, bad.instances, passed=up, now=2000.0)
    assert back.verdict is Verdict.DONE
    assert {i.number: i for i in old if i.number in up}.items() <= {i.number: i for i in back.instances}.items()


def test_what_nobody_restarts_is_told_as_unfinished() -> None:
    stuck = simulate(Goal(2, 1), (failed(1, 2),), passed=frozenset({1}))
    assert (stuck.verdict, stuck.steps) == (Verdict.GOING, ())


def test_a_deadline_is_not_waited_out() -> None:
    stuck = simulate(Goal(2, 1, deadline=50.0), (failed(1, 2),), passed=frozenset({1}))
    assert stuck.verdict is Verdict.GOING


def test_min_ready_passes_by_itself() -> None:
    done = simulate(Goal(2, 3, min_ready=30.0), many(3))
    assert done.verdict is Verdict.DONE


def test_a_step_tells_what_serves_once_it_has_begun() -> None:
    done = simulate(Goal(2, 2), many(2))
    assert [step.ready for step in done.steps] == [2, 2, 2, 2]
    assert [step.ready for step in simulate(Goal(2, 2, 0, 1), many(2)).steps] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("count", "pace"),
    [
        (200, Pace()),
        (200, Pace(max_surge=Amount(0), max_unavailable=Amount(25, percent=True))),
        (2000, Pace(max_surge=Amount(5, percent=True))),
        (2000, Pace(max_surge=Amount(25, percent=True), max_unavailable=Amount(25, percent=True))),
    ],
)
def test_large_pools_take_seconds(count: int, pace: Pace) -> None:
    goal = Goal.of(app(count, pace=pace), 2)
    begun = time.process_time()
    done = simulate(goal, many(count))
    assert time.process_time() - begun < 10
    assert done.verdict is Verdict.DONE
    assert done.floor >= goal.floor
    assert done.ceiling <= goal.ceiling
    stops = [step.action.number for step in done.steps if isinstance(step.action, Stop)]
    assert stops == list(range(count, 0, -1))
