"""Standby in a rollout: which instances are frozen instead of stopped, and rollbacks without boots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.action import Adopt, Freeze, Start, Stop, Thaw
from deployd.model.gate import Probe
from deployd.model.instance import OUT_OF_SERVICE, Instance, State
from deployd.model.rollout import Hold
from deployd.plan import judge
from deployd.plan.goal import Goal
from deployd.plan.planner import Verdict, World, plan, retry
from deployd.plan.simulation import TICK, Durations, Outcome, simulate
from tests.plan.worlds import GENERATION, NOW, failed, goals, pools, ready, resting, starting, stopping

SIGNS = {Start: "+", Stop: "-", Adopt: "=", Freeze: "*", Thaw: "^"}


def steps(outcome: Outcome) -> list[str]:
    """Return the actions: `+5` starts instance 5, `-4` stops it, `*3` freezes it, `^3` thaws it, `=3` adopts it."""
    actions = [step.action for step in outcome.steps if not isinstance(step.action, Hold)]
    return [f"{SIGNS.get(type(action), '~')}{action.number}" for action in actions]


def pool_of(generation: int, *numbers: int) -> tuple[Instance, ...]:
    return tuple(ready(number, generation, started=float(number)) for number in numbers)


def rest(pool: Iterable[Instance]) -> list[tuple[int, int | None]]:
    return [(item.number, item.generation) for item in pool if item.state is State.STANDBY]


def test_replaced_instances_are_frozen_and_keep_their_numbers() -> None:
    done = simulate(Goal(2, 3, standby=1), pool_of(1, 1, 2, 3))
    assert steps(done) == ["+4", "*3", "+5", "*2", "+6", "*1"]
    assert (done.floor, done.ceiling, done.verdict) == (3, 4, Verdict.DONE)
    assert rest(done.instances) == [(1, 1), (2, 1), (3, 1)]


def test_without_standby_nothing_is_frozen() -> None:
    done = simulate(Goal(2, 3), pool_of(1, 1, 2, 3))
    assert (done.frozen, done.thawed) == ((), ())


@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 8), st.floats(0, 60))
def test_a_rollout_never_takes_longer_than_without_standby(size: int, surge: int, down: int, stop: float) -> None:
    """Connections end in standby."""
    goal = Goal(2, size, surge, min(down, size) or int(not surge))
    takes = Durations(boot=lambda _number, _generation: 5.0, stop=lambda _number, _generation: stop)
    found = [
        simulate(replace(goal, standby=kept), pool_of(1, *range(1, size + 1)), durations=takes) for kept in (1, None)
    ]
    assert [done.verdict for done in found] == [Verdict.DONE, Verdict.DONE]
    assert found[0].ceiling <= goal.ceiling
    assert found[0].seconds <= found[1].seconds + TICK * size * 2  # what happens at once takes a tick each


def test_only_the_ready_instances_of_the_origin_are_kept() -> None:
    """Those of a superseded rollout, and those that are not ready, are stopped."""
    half = (*pool_of(2, 4), *pool_of(1, 1, 2), failed(3, 1), ready(7, None))
    done = simulate(Goal(3, 3, standby=1), half)
    assert sorted(done.frozen) == [1, 2]
    assert sorted(done.stops) == [3, 4, 7]
    assert done.verdict is Verdict.DONE


def test_a_rollback_thaws_all_at_once_and_starts_nothing() -> None:
    """`max_surge` limits boots only."""
    before = (*pool_of(2, 4, 5, 6), *(resting(number, 1, float(number)) for number in (1, 2, 3)))
    done = simulate(Goal(3, 3, 1, same=frozenset({1}), proven=True), before)
    assert steps(done) == ["^1", "^2", "^3", "=1", "=2", "=3", "-6", "-5", "-4"]
    assert not done.starts
    assert (done.floor, done.verdict) == (3, Verdict.DONE)


def test_instances_missing_in_standby_are_started_afterwards() -> None:
    before = (*pool_of(2, 4, 5, 6), resting(2, 1))
    done = simulate(Goal(3, 3, 1, same=frozenset({1}), proven=True), before)
    assert done.thawed == (2,)
    assert done.starts == {3: 2}
    assert done.verdict is Verdict.DONE


def test_a_failed_rollout_thaws_the_instances_it_froze() -> None:
    """They need not pass the gate again."""
    world = World((*pool_of(2, 4), starting(5, 2), ready(1, 1), resting(2, 1), resting(3, 1)), frozenset({1, 2, 3}))
    made = plan(Goal(1, 3, min_ready=600.0, proven=True), world, NOW)
    assert made.actions == (Thaw(2, 1), Thaw(3, 1))
    assert made.passed == {1, 2, 3}
    thawed = tuple(ready(n, 1, NOW) for n in (2, 3))
    again = plan(Goal(1, 3, min_ready=600.0, proven=True), World((*world.instances[:3], *thawed), made.passed), NOW)
    assert again.actions == (Stop(5, 2), Stop(4, 2))


def test_an_instance_that_dies_thawing_is_replaced_by_a_start() -> None:
    goal = Goal(3, 2, 1, same=frozenset({1}), proven=True)
    world = World((*pool_of(2, 4, 5), ready(1, 1), failed(2, None)))
    made = plan(goal, world, NOW)
    assert made.verdict is Verdict.GOING
    assert Adopt(1, 3, 1) in made.actions
    assert simulate(goal, world.instances).verdict is Verdict.DONE


def test_older_standby_goes_before_anything_starts() -> None:
    before = (*pool_of(2, 4, 5), resting(1, 1), resting(2, 1))
    goal = Goal(3, 2, standby=2)
    first = plan(goal, World(before), NOW)
    assert first.actions == (Stop(2, 1), Stop(1, 1))
    meanwhile = plan(goal, World((*before[:2], stopping(1, 1), stopping(2, 1))), NOW)
    assert not meanwhile.actions, "they use memory until they have stopped"
    done = simulate(goal, before)
    assert rest(done.instances) == [(4, 2), (5, 2)]


def test_scaling_replaces_no_instance_and_keeps_standby() -> None:
    before = (*pool_of(2, 4, 5), resting(1, 1), resting(2, 1))
    done = simulate(Goal(3, 3, same=frozenset({2}), standby=2, proven=True), before)
    assert steps(done) == ["=4", "=5", "+3"]
    assert rest(done.instances) == [(1, 1), (2, 1)]


def test_surplus_standby_of_the_goal_stops_when_enough_serve() -> None:
    before = (*pool_of(2, 4, 5, 6), *(resting(number, 1) for number in (1, 2, 3)))
    done = simulate(Goal(3, 2, same=frozenset({1}), proven=True), before)
    assert done.thawed == (1, 2)
    assert sorted(done.stops) == [3, 4, 5, 6]
    assert not rest(done.instances)


def test_an_instance_with_the_unit_of_an_older_generation_is_not_thawed() -> None:
    made = plan(Goal(3, 1, same=frozenset({1}), avoid=frozenset({1})), World((ready(4, 2), resting(1, 1))), NOW)
    assert made.actions == (Stop(1, 1),)


def test_an_instance_that_failed_its_probe_is_not_kept() -> None:
    goal = Goal(3, 1, same=frozenset({1}), standby=1, probe_words=Probe(http="/").http)
    lost = replace(ready(1, 1, NOW - 5), probed_since=NOW - 4, probe_error="503")
    done = plan(goal, World((lost, replace(ready(2, 3), probed_since=NOW - 4)), frozenset({2})), NOW)
    assert not any(isinstance(action, Freeze) for action in done.actions)


def test_nothing_is_frozen_before_a_canary_is_resumed() -> None:
    done = simulate(Goal(2, 2, standby=1), pool_of(1, 1, 2), holds=(Hold(1, canary=True),))
    kinds = [type(step.action) for step in done.steps]
    assert kinds.index(Hold) < kinds.index(Freeze)
    assert done.verdict is Verdict.DONE


def test_a_retry_keeps_standby() -> None:
    world = World((replace(resting(1, GENERATION), restarts=9), failed(2, GENERATION)))
    assert [action.number for action in retry(Goal(GENERATION, 2), world, NOW)] == [2]


anything = settings(max_examples=150, deadline=None)


@anything
@given(goals(), pools(), st.booleans())
def test_never_two_generations_in_standby(goal: Goal, pool: tuple[Instance, ...], known: bool) -> None:
    made = plan(goal, World(pool, frozenset(item.number for item in pool) if known else frozenset()), NOW)
    if made.verdict is Verdict.FAILED:
        return
    stops = {action.number for action in made.actions if isinstance(action, Stop)}
    thawed = {action.number for action in made.actions if isinstance(action, Thaw)}
    frozen = {action.generation for action in made.actions if isinstance(action, Freeze)}
    kept = {
        item.generation
        for item in pool
        if item.state is State.STANDBY and item.number not in stops | thawed and not judge.rests_for(item, goal)
    }
    assert len(kept | frozen) <= 1
    assert frozen <= {goal.standby}
    assert goal.standby is not None or not kept | frozen


@anything
@given(goals(), pools())
def test_nothing_boots_while_something_can_be_thawed(goal: Goal, pool: tuple[Instance, ...]) -> None:
    made = plan(goal, World(pool), NOW)
    thaws = [action for action in made.actions if isinstance(action, Thaw)]
    starts = [action for action in made.actions if isinstance(action, Start)]
    assert not (thaws and starts)
    left = [i for i in pool if i.state is State.STANDBY and judge.rests_for(i, goal)]
    assert not (starts and left)
    numbers = {item.number for item in pool if item.state is State.STANDBY}
    assert not {action.number for action in starts} & numbers
    new = [i for i in pool if i.state not in OUT_OF_SERVICE and judge.belongs(i, goal, NOW)]
    assert len(new) + len(thaws) <= max(len(new), goal.instances)


@anything
@given(goals(), pools())
def test_a_rollout_without_standby_ends_without_standby(goal: Goal, pool: tuple[Instance, ...]) -> None:
    goal = replace(goal, standby=None)
    left = tuple(item for item in pool if item.generation != GENERATION)
    done = simulate(goal, left, now=NOW, limit=2000)
    assert done.verdict is Verdict.DONE
    assert not rest(done.instances)
