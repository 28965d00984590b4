"""What a rollout waits for, in words."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from deployd.model.instance import Instance, Listener, State
from deployd.plan.goal import Goal
from deployd.plan.waits import waits
from tests.plan.worlds import GENERATION, NOW, goals, pools, ready, starting, stopping


def words(goal: Goal, *instances: Instance, passed: frozenset[int] = frozenset()) -> list[str]:
    return list(waits(goal, instances, passed, NOW).values())


def test_what_an_instance_has_yet_to_do() -> None:
    goal = Goal(2, 2, min_ready=20.0)
    asked = replace(goal, probe_words="GET / to answer 200")
    item = ready(3, 2, started=NOW - 1)
    assert words(goal, ready(1, 1), starting(3, 2)) == ["has not sent READY=1 yet"]
    assert words(replace(goal, gate="exec"), starting(3, 2)) == ["has not executed its program yet"]
    assert words(asked, item) == ["has not passed its probe yet"]
    assert words(asked, replace(item, probe_error="GET / answered 503 instead of 200")) == [
        "has not passed its probe yet: GET / answered 503 instead of 200"
    ]
    assert words(goal, item) == ["is ready, and has to stay up for 20 s (min_ready)"]
    assert words(goal, replace(item, listener=Listener.UNSEEN))[0].startswith("is ready, but was not seen")
    assert words(goal, stopping(1, 1)) == ["has not stopped yet"]
    assert words(goal, item, passed=frozenset({3})) == []


@given(pools(), goals())
def test_only_instances_of_the_goal_and_those_that_stop_are_waited_for(pool: tuple[Instance, ...], goal: Goal) -> None:
    by_number = {item.number: item for item in pool}
    for wait in waits(goal, pool, frozenset(), NOW):
        item = by_number[wait.number]
        assert item.state is State.STOPPING or item.generation in {GENERATION, *goal.same}
