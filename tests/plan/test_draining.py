"""Instances that drain: nothing waits for them, and only their numbers are taken."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from deployd.model.action import Start, Stop
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Verdict, World, plan
from tests.plan.test_properties import Case, anything, cases
from tests.plan.worlds import GENERATION, NOW, app, failed, ready, starting

WORKER = replace(app(2), listen=())


def draining(number: int, generation: int) -> Instance:
    return Instance(number, generation, State.DRAINING, draining_since=NOW, drains_until=NOW + 3600)


def test_an_app_without_listen_drains() -> None:
    goal = Goal.of(WORKER, GENERATION)
    assert goal.drains
    assert not Goal.of(app(2), GENERATION).drains
    assert not Goal.of(WORKER.without_overlap(), GENERATION).drains
    world = World((ready(1, 4), ready(2, 4), ready(3, GENERATION)), frozenset({3}))
    assert plan(goal, world, NOW).actions == (Stop(2, 4, drain=True),)
    fallen = World((starting(1, 4), failed(2, 4), ready(3, GENERATION), ready(4, GENERATION)), frozenset({3, 4}))
    assert plan(goal, fallen, NOW).actions == (Stop(1, 4), Stop(2, 4)), "nothing is finished there"


def test_the_rollout_goes_on_and_ends_meanwhile() -> None:
    goal = Goal.of(WORKER, GENERATION)
    half = World((draining(1, 4), ready(2, 4), ready(3, GENERATION)), frozenset({3}))
    assert plan(goal, half, NOW).actions == (Start(4, GENERATION),), "its number is not used again"
    over = World((draining(1, 4), draining(2, 4), ready(3, GENERATION), ready(4, GENERATION)), frozenset({3, 4}))
    assert plan(goal, over, NOW).verdict is Verdict.DONE


def test_the_next_rollout_a_rollback_and_a_scale_leave_it_alone() -> None:
    old = (draining(1, 4), draining(2, 4))
    back = plan(Goal.of(WORKER, 4, proven=True), World((*old, ready(3, GENERATION), ready(4, GENERATION))), NOW)
    assert back.actions == (Start(5, 4),), "of its own generation, but it takes no jobs"
    fewer = Goal.of(replace(WORKER, instances=1), 6, same=frozenset({GENERATION}))
    scaled = World((*old, ready(3, 6), ready(4, 6)), frozenset({3, 4}))
    assert plan(fewer, scaled, NOW).actions == (Stop(4, 6, "surplus", drain=True),)


def test_without_overlap_it_leaves_no_room() -> None:
    """As after a change of `overlap`."""
    goal = Goal.of(replace(WORKER, instances=1).without_overlap(), GENERATION)
    assert plan(goal, World((draining(1, 4),)), NOW).actions == ()
    assert plan(goal, World(()), NOW).actions == (Start(1, GENERATION, most=1),)


@anything
@given(cases())
def test_only_ready_instances_of_a_known_generation_drain(case: Case) -> None:
    goal, world, made = case
    states = {item.number: item for item in world.instances}
    for action in made.actions:
        if isinstance(action, Stop):
            item = states[action.number]
            done = action.why in ("replaced", "surplus") and item.state is State.READY and item.generation is not None
            assert action.drain == (goal.drains and done)
    touched = {action.number for action in made.actions}
    assert not touched & {item.number for item in world.instances if item.state is State.DRAINING}
