"""What generations get of new connections, as asked and as measured."""

from __future__ import annotations

from deployd.model.steering import Group
from deployd.routing.report import Share
from deployd.routing.statistics import Statistics

GENERATIONS = {1: 7, 2: 7, 3: 8, 4: None}


def group(weight: float, *numbers: int) -> Group:
    return Group(tuple((number, 0) for number in numbers), weight)


def test_a_generation_with_a_group_of_its_own_has_a_weight() -> None:
    found = Statistics().shares(GENERATIONS, [group(0.05, 3), group(0.95, 1, 2)], {1: 50, 2: 45, 3: 5})
    assert found == (Share(8, 5.0, 5.0, 5), Share(7, 95.0, 95.0, 95))


def test_generations_in_one_group_have_measured_shares_only() -> None:
    found = Statistics().shares(GENERATIONS, [group(1.0, 1, 2, 3)], {1: 1, 3: 3})
    assert found == (Share(8, None, 75.0, 3), Share(7, None, 25.0, 1))


def test_a_generation_that_warms_up_beside_others_has_no_weight_once_a_part_of_it_is_warm() -> None:
    groups = [group(0.9, 1, 3), group(0.1, 2)]
    assert [share.asked for share in Statistics().shares(GENERATIONS, groups, {})] == [None, None]
    apart = [group(0.9, 1, 2), group(0.1, 3)]
    assert [share.asked for share in Statistics().shares(GENERATIONS, apart, {})] == [10.0, 90.0]


def test_a_generation_without_a_group_gets_nothing() -> None:
    found = Statistics().shares(GENERATIONS, [group(1.0, 1, 2, 9)], {})
    assert found == (Share(8, 0.0, None, 0), Share(7, 100.0, None, 0))


def test_the_measurement_begins_again_with_another_request() -> None:
    statistics, counters = Statistics(), {1: 100, 3: 0}
    statistics.begin("five", lambda: dict(counters))
    counters |= {1: 150, 3: 50}
    statistics.begin("five", lambda: {})
    groups = [group(1.0, 1, 2, 3)]
    assert [share.seen for share in statistics.shares(GENERATIONS, groups, counters)] == [50.0, 50.0]
    statistics.begin("ten", lambda: dict(counters))
    assert [share.seen for share in statistics.shares(GENERATIONS, groups, counters)] == [None, None]
