"""The second pass of a changed `listen`: which instances are replaced again, and when the old address closes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.action import Start, Stop
from deployd.model.instance import Instance, State
from deployd.plan.closing import joined, last_holders, second_pass
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan
from deployd.plan.simulation import simulate


def ready(number: int, generation: int = 2) -> Instance:
    return Instance(number, generation, State.READY, started=float(number), ready_since=float(number))


@given(st.integers(1, 12), st.integers(0, 4), st.integers(0, 3))
def test_all_instances_are_replaced_twice_within_the_capacity(instances: int, surge: int, unavailable: int) -> None:
    if not surge and not unavailable:
        unavailable = 1
    old = tuple(ready(number, 1) for number in range(1, instances + 1))
    avoid = frozenset(item.number for item in old)
    goal = Goal(2, instances, max_surge=surge, max_unavailable=min(unavailable, instances), avoid=avoid)
    first = simulate(goal, old)
    assert first.verdict is Verdict.DONE
    again = second_pass(first, True, avoid)
    assert len(again) == instances
    assert not again & avoid
    second = simulate(replace(goal, avoid=again), first.instances)
    whole = joined(first, second)
    assert whole.verdict is Verdict.DONE
    alive = {item.number for item in whole.instances if item.state is State.READY}
    assert len(alive) == instances
    assert not alive & again
    assert whole.floor >= goal.floor
    assert whole.ceiling <= goal.ceiling
    assert len(whole.steps) == len(first.steps) + len(second.steps)


def test_instances_that_never_had_the_address_are_kept() -> None:
    goal = Goal(3, 3, same=frozenset({1}))
    first = simulate(goal, (ready(1, 1), ready(2, 1), ready(5, 2)))
    assert second_pass(first, True, frozenset({5})) == {3}
    assert second_pass(first, False, frozenset({5})) == frozenset()
    assert second_pass(first, False, frozenset({1, 5})) == {1}


@pytest.mark.parametrize("surge", [1, 2, 4])
def test_the_old_address_closes_before_its_last_instances_stop(surge: int) -> None:
    """It closes once, when all instances of the goal are ready."""
    goal = Goal(2, 4, max_surge=surge, avoid=frozenset({5, 6, 7, 8}))
    found: list[frozenset[int]] = []

    def watching(goal: Goal, world: World, now: float) -> Plan:
        result = plan(goal, world, now)
        holders = last_holders(goal, result, world.instances)
        if holders:
            assert sum(item.number < 5 and item.state is State.READY for item in world.instances) == 4
            found.append(holders)
        return result

    outcome = simulate(goal, tuple(ready(number) for number in (5, 6, 7, 8)), planner=watching)
    assert outcome.verdict is Verdict.DONE
    assert found
    assert found[0] <= {5, 6, 7, 8}


def test_without_surge_the_address_stays_open_for_a_rollback() -> None:
    goal = Goal(2, 2, max_surge=0, max_unavailable=1, avoid=frozenset({5}))
    stop = Plan(Verdict.GOING, (Stop(5, 2),), frozenset({1}))
    assert last_holders(goal, stop, (ready(1), ready(5))) == frozenset()
    start = Plan(Verdict.GOING, (Stop(5, 2), Start(3, 2)), frozenset({1, 2}))
    assert last_holders(goal, start, (ready(1), ready(2), ready(5))) == frozenset()
    assert last_holders(goal, replace(stop, passed=frozenset({1, 2})), (ready(1), ready(2), ready(5))) == {5}
    assert last_holders(goal, Plan(Verdict.GOING, (), frozenset({1, 2})), (ready(1), ready(2))) == frozenset()
