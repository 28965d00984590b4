"""Properties of every single plan in arbitrary worlds. The numbers in the names are those of the invariants."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deployd.model.action import Adopt, Freeze, Start, Stop, Thaw, Unpin
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan, retry
from tests.plan.worlds import (
    GENERATION,
    NOW,
    alive,
    available,
    begun,
    failed,
    goals,
    idle,
    pools,
    ready,
    starting,
    stopped,
    stopping,
    turn,
)

Case = tuple[Goal, World, Plan]


@st.composite
def cases(draw: st.DrawFn, most: int = 8) -> Case:
    """A goal, a world and the plan for it, with arbitrary remembered instances."""
    goal = draw(goals(most))
    pool = draw(pools(most + 4))
    numbers = [item.number for item in pool]
    passed = draw(st.just(frozenset(numbers)) | st.frozensets(st.sampled_from(numbers))) if numbers else frozenset()
    world = World(pool, passed)
    return goal, world, plan(goal, world, NOW)


anything = settings(max_examples=60, deadline=None)


@anything
@given(cases())
def test_every_action_fits_the_instance_it_is_for(case: Case) -> None:
    _, world, made = case
    state = {item.number: item.state for item in world.instances}
    numbers = [action.number for action in made.actions]
    assert len(numbers) == len(set(numbers)), "one action for an instance"
    for action in made.actions:
        seen = state.get(action.number, State.INACTIVE)
        match action:
            case Start() | Unpin():
                assert seen is State.INACTIVE
            case Stop():
                assert seen in (State.READY, State.STARTING, State.FAILED, State.STANDBY)
            case Adopt() | Freeze():
                assert seen is State.READY
            case Thaw():
                assert seen is State.STANDBY


@anything
@given(cases())
def test_6_a_running_instance_keeps_its_pin_unless_it_is_adopted(case: Case) -> None:
    goal, world, made = case
    pins = {item.number: item.generation for item in world.instances}
    running = {item.number for item in alive(world.instances)}
    for action in made.actions:
        match action:
            case Start(number, generation):
                assert number not in running
                assert generation == goal.generation
            case Adopt(number, generation, previous):
                assert (pins[number], generation) == (previous, goal.generation)
                assert previous in goal.same
            case Unpin(number):
                assert number not in running
                assert pins[number] is not None
            case Stop(number, its_generation) | Freeze(number, its_generation) | Thaw(number, its_generation):
                assert its_generation == pins[number]


@anything
@given(cases())
def test_1_capacity_never_falls_below_the_floor(case: Case) -> None:
    goal, world, made = case
    before = available(world.instances, goal, made.passed)
    assert len(before - stopped(made)) >= min(len(before), goal.floor)


@anything
@given(cases())
def test_1_no_old_instance_stops_before_its_replacement_passed(case: Case) -> None:
    """Not even one that is down or starting, because the new release may not start at all."""
    goal, world, made = case
    old = [item for item in alive(world.instances) if item.generation not in {goal.generation, *goal.same}]
    leaving = stopped(made) & {item.number for item in old}
    if leaving:
        rest = [item for item in alive(world.instances) if item.number not in stopped(made)]
        stand = [
            item
            for item in rest
            if (item in old and item.state is not State.STOPPING)
            or item.number in available(rest, goal, made.passed)
            or (item.generation in goal.same and item.state is State.FAILED)
        ]
        assert len(stand) >= goal.floor


@anything
@given(cases())
def test_1_never_more_alive_than_the_ceiling_or_the_instances_before(case: Case) -> None:
    goal, world, made = case
    now_alive = len(alive(world.instances))
    assert now_alive + len(begun(made)) <= max(goal.ceiling, now_alive)
    assert len(begun(made)) <= goal.instances


@anything
@given(cases())
def test_2_a_failed_gate_stops_the_rollout(case: Case) -> None:
    goal, world, made = case
    if made.verdict is Verdict.FAILED:
        assert not made.actions
        assert made.wake_at is None
        assert made.reason
        culprit = {item.number: item for item in world.instances}[made.culprit or 0]
        assert culprit.generation == goal.generation
        assert culprit.state is State.FAILED or culprit.restarts > 0
        assert culprit.number not in made.passed
    else:
        assert made.culprit is None
        assert not made.reason
        for item in alive(world.instances):
            if item.generation == goal.generation and item.state is State.FAILED:
                assert item.number in world.passed, "a failed gate was not seen"


@anything
@given(cases())
def test_3_ready_old_instances_stop_in_order(case: Case) -> None:
    goal, world, made = case
    old = [
        item
        for item in alive(world.instances)
        if item.state is State.READY and item.generation not in {goal.generation, *goal.same}
    ]
    leaving = [item for item in old if item.number in stopped(made)]
    assert sorted(old, key=lambda item: turn(item, goal))[: len(leaving)] == sorted(
        leaving, key=lambda item: turn(item, goal)
    )
    order = [action.number for action in made.actions if getattr(action, "why", "replaced") == "replaced"]
    assert [number for number in order if number in {item.number for item in leaving}] == [
        item.number for item in sorted(leaving, key=lambda item: turn(item, goal))
    ]


@anything
@given(cases())
def test_5_a_healthy_instance_of_an_identical_process_is_kept(case: Case) -> None:
    """Only surplus ones are stopped."""
    goal, world, made = case
    family = {goal.generation, *goal.same}
    healthy = {
        item.number
        for item in world.instances
        if item.generation in family
        and item.state is State.READY
        and item.ready_since + goal.min_ready <= NOW
        and (item.generation in goal.same or goal.proven or item.restarts == 0 or item.number in world.passed)
    }
    if made.verdict is not Verdict.FAILED:
        assert len(healthy - stopped(made)) >= min(len(healthy), goal.instances)
        assert all(
            action.why == "surplus" for action in made.actions if isinstance(action, Stop) and action.number in healthy
        )
        adopted = {action.number for action in made.actions if isinstance(action, Adopt)}
        relabelled = {item.number for item in world.instances if item.generation == goal.generation} | adopted
        assert healthy - stopped(made) <= relabelled & made.passed


@anything
@given(cases(), st.randoms(use_true_random=False))
def test_7_planning_again_changes_nothing(case: Case, chance: random.Random) -> None:
    goal, world, made = case
    shuffled = list(world.instances)
    chance.shuffle(shuffled)
    assert plan(goal, World(tuple(shuffled), world.passed), NOW) == made
    if made.verdict is not Verdict.FAILED:
        assert plan(goal, World(world.instances, made.passed), NOW) == made, "also once those that passed are saved"


@anything
@given(cases())
def test_8_an_instance_counts_only_after_min_ready(case: Case) -> None:
    goal, world, made = case
    for item in world.instances:
        if item.number in made.passed - world.passed:
            assert item.state is State.READY
            assert item.ready_since + goal.min_ready <= NOW
    young = [
        item.ready_since + goal.min_ready
        for item in world.instances
        if item.generation in {goal.generation, *goal.same}
        and item.state is State.READY
        and item.number not in made.passed
    ]
    if made.verdict is Verdict.FAILED:
        return
    if made.wake_at is not None:
        assert made.wake_at > NOW
    if young:
        assert made.wake_at == min(young)
        assert made.verdict is Verdict.GOING


@anything
@given(cases())
def test_8_a_deadline_is_planned_for_and_enforced(case: Case) -> None:
    goal, world, made = case
    assume(made.verdict is Verdict.GOING)
    family = {goal.generation, *goal.same}
    up = [i for i in world.instances if i.generation in family and i.state is State.READY and i.number in made.passed]
    lacking = len(up) < goal.instances
    soon = plan(replace(goal, deadline=NOW + 0.25), world, NOW)
    late = plan(replace(goal, deadline=NOW), world, NOW)
    assert soon.actions == made.actions
    assert (soon.wake_at == NOW + 0.25) == lacking
    if lacking:
        assert late.verdict is Verdict.FAILED
        assert "deadline" in late.reason
    else:
        assert late == made, "once all of its instances are available a rollout may take longer"


@anything
@given(cases())
def test_done_means_exactly_the_wanted_instances_and_no_other_pin(case: Case) -> None:
    goal, world, made = case
    running, acted = alive(world.instances), {action.number for action in made.actions}
    there = (
        len(running) == goal.instances
        and {item.number for item in running} <= made.passed
        and all(item.generation == goal.generation and item.state is State.READY for item in running)
        and all(item.generation is None for item in world.instances if item.state is State.INACTIVE)
        and not any(item.number in acted for item in world.instances if item.state is State.STANDBY)  # test_standby
    )
    assert (made.verdict is Verdict.DONE) == there
    if made.verdict is Verdict.DONE:
        assert not made.actions
        assert made.wake_at is None


@anything
@given(cases())
def test_4_a_rollout_never_waits_for_nothing(case: Case) -> None:
    goal, world, made = case
    if made.verdict is Verdict.GOING and not made.actions and made.wake_at is None:
        family = {goal.generation, *goal.same}
        assert any(
            item.state in (State.STARTING, State.STOPPING)
            or (item.state is State.DRAINING and not goal.overlap)  # it leaves no room for another
            or (item.state is State.FAILED and item.generation in family and item.number in made.passed)
            for item in world.instances
        )


@anything
@given(cases())
def test_4_an_old_instance_that_is_down_or_starting_is_not_waited_for(case: Case) -> None:
    """It may be in a crash loop, and is not needed."""
    goal, world, made = case
    if made.verdict is Verdict.GOING and not made.actions and made.wake_at is None:
        no_room = not goal.overlap and any(item.state is State.DRAINING for item in world.instances)
        assert no_room or any(
            item.state is State.STOPPING
            or (item.state is not State.READY and item.generation in {goal.generation, *goal.same})
            for item in alive(world.instances)
        )


@anything
@given(pools(), goals())
def test_10_rolling_back_to_nothing_stops_everything(pool: tuple[Instance, ...], pace: Goal) -> None:
    goal = Goal(0, 0, pace.max_surge, pace.max_unavailable, pace.order)
    made = plan(goal, World(pool), NOW)
    gone = (State.STOPPING, State.INACTIVE, State.DRAINING)
    assert stopped(made) == {item.number for item in pool if item.state not in gone}
    assert not begun(made)
    assert {action.number for action in made.actions if isinstance(action, Unpin)} == {
        item.number for item in pool if item.state is State.INACTIVE and item.generation is not None
    }
    down = tuple(idle(item.number, None) for item in pool)
    assert plan(goal, World(down), NOW).verdict is Verdict.DONE


@anything
@given(cases())
def test_a_retry_stops_exactly_the_failed_instances(case: Case) -> None:
    goal, world, made = case
    leaving = {action.number for action in retry(goal, world, NOW)}
    assert bool(leaving) == (made.verdict is Verdict.FAILED)
    again = tuple(stopping(i.number, i.generation) if i.number in leaving else i for i in world.instances)
    assert plan(goal, World(again, made.passed), NOW).verdict is not Verdict.FAILED


@given(st.integers(0, 9))
def test_a_proven_goal_tolerates_restarts_and_starts_failed_instances_again(restarts: int) -> None:
    goal = Goal(GENERATION, 2, proven=True)
    up = ready(1, GENERATION, restarts=restarts)
    for other in (ready(2, GENERATION, restarts=restarts), starting(2, GENERATION, restarts=restarts)):
        assert plan(goal, World((up, other)), NOW).verdict is not Verdict.FAILED
    down = World((up, failed(2, GENERATION, restarts=restarts)), passed=frozenset({1, 2}))
    assert plan(goal, down, NOW).actions == (Stop(2, GENERATION, "failed"),)
    # An instance that the rollout started must become ready, proven or not.
    assert plan(goal, replace(down, passed=frozenset({1})), NOW).verdict is Verdict.FAILED
