"""Goal.of: converts the amounts of an app file to counts."""

from __future__ import annotations

from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.gate import Gate
from deployd.model.pace import Amount, Pace
from deployd.plan.goal import Goal
from tests.plan.worlds import amounts, app


def percent(value: int) -> Amount:
    return Amount(value, percent=True)


@pytest.mark.parametrize(
    ("instances", "surge", "unavailable", "counts"),
    [
        (4, Amount(1), Amount(0), (1, 0)),
        (4, percent(25), percent(25), (1, 1)),
        (10, percent(25), percent(25), (3, 2)),
        (3, percent(10), percent(10), (1, 0)),
        (1, percent(100), percent(100), (1, 1)),
        (2, Amount(0), Amount(5), (0, 2)),
        (4, Amount(0), Amount(0), (0, 1)),
        (3, percent(0), percent(25), (0, 1)),
    ],
)
def test_surge_is_rounded_up_and_unavailable_down(
    instances: int, surge: Amount, unavailable: Amount, counts: tuple[int, int]
) -> None:
    goal = Goal.of(app(instances, pace=Pace(max_surge=surge, max_unavailable=unavailable)), 2)
    assert (goal.max_surge, goal.max_unavailable) == counts
    assert (goal.floor, goal.ceiling) == (instances - counts[1], instances + counts[0])


@given(st.integers(1, 50), amounts(), amounts())
def test_a_goal_can_always_move(instances: int, surge: Amount, unavailable: Amount) -> None:
    goal = Goal.of(app(instances, pace=Pace(max_surge=surge, max_unavailable=unavailable)), 2)
    assert goal.max_surge + goal.max_unavailable > 0
    assert 0 <= goal.floor <= goal.instances <= goal.ceiling


@given(st.integers(0, 200), st.integers(0, 1000))
def test_percentages_are_exact(value: int, total: int) -> None:
    assert percent(value).of(total, round_up=True) == ceil(value * total / 100)
    assert percent(value).of(total, round_up=False) == floor(value * total / 100)
    assert Amount(value).of(total, round_up=True) == value


def test_other_settings_are_copied() -> None:
    settings = app(2, gate=Gate(min_ready=7.0))
    goal = Goal.of(settings, 3, same=frozenset({1, 3}), deadline=9.0, proven=True)
    assert (goal.generation, goal.min_ready, goal.deadline, goal.proven) == (3, 7.0, 9.0, True)
    assert goal.same == {1}, "a generation does not adopt its own"
