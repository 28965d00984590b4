"""The steering table: entries follow from weights, in every run of connections, and the order is tried in turn."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.reuseport.table import ENTRIES, FALLBACKS, INSTANCES, STRIDE, Table, choose

instances = st.integers(1, INSTANCES - 1)
some_weights = st.dictionaries(instances, st.floats(0, 1e308) | st.integers(0, 100), max_size=40)
some_order = st.lists(instances, max_size=30)
cursors = st.integers(0, 2**32 - 1)


@given(some_weights, some_order)
def test_each_slot_with_a_weight_has_entries(weights: dict[int, float], order: list[int]) -> None:
    table = Table.of(weights, order)
    assert len(table.entries) == ENTRIES
    named = set(table.entries)
    if any(weights.values()):
        assert named == {instance for instance, weight in weights.items() if weight}
    else:
        assert named == {order[0] if order else 0}


@given(st.dictionaries(instances, st.integers(1, 100), min_size=1, max_size=40), some_order)
def test_entries_are_proportional_to_weights(weights: dict[int, int], order: list[int]) -> None:
    counts = Counter(Table.of(weights, order).entries)
    total = sum(weights.values())
    for instance, weight in weights.items():
        assert abs(counts[instance] - weight * ENTRIES / total) < 1


@given(some_weights)
def test_a_larger_weight_never_has_fewer_entries(weights: dict[int, float]) -> None:
    counts = Counter(Table.of(weights, []).entries)
    ascending = sorted((weight, counts[instance]) for instance, weight in weights.items() if weight)
    for (less, few), (more, many) in pairwise(ascending):
        assert less == more or few <= many


@given(st.dictionaries(instances, st.floats(1e-12, 1e-9), min_size=1, max_size=50))
def test_the_tiny_are_paid_by_the_large(tiny: dict[int, float]) -> None:
    large = next(instance for instance in range(1, INSTANCES) if instance not in tiny)
    counts = Counter(Table.of({**tiny, large: 1.0}, []).entries)
    assert all(counts[instance] == 1 for instance in tiny)
    assert counts[large] == ENTRIES - len(tiny)


@settings(max_examples=25)
@given(some_weights, some_order, cursors)
def test_weights_are_exact_in_every_run_of_all_entries(weights: dict[int, float], order: list[int], first: int) -> None:
    table = Table.of(weights, order)
    # The kernel's cursor has 32 bits and may wrap within the run.
    chosen_entries = Counter(
        table.entries[(cursor % 2**32) * STRIDE % ENTRIES] for cursor in range(first, first + ENTRIES)
    )
    assert chosen_entries == Counter(table.entries)


@settings(max_examples=25)
@given(st.integers(1, 99), st.integers(20, 1000), cursors)
def test_weights_are_nearly_exact_in_shorter_runs(percent: int, length: int, first: int) -> None:
    table = Table.of({1: percent, 2: 100 - percent}, [])
    chosen_entries = sum(choose(table, cursor, {1, 2}) == 1 for cursor in range(first, first + length))
    assert abs(chosen_entries - length * percent / 100) <= 5


@given(some_weights, some_order, cursors, st.sets(instances))
def test_a_slot_that_does_not_listen_is_replaced_by_the_first_in_order(
    weights: dict[int, float], order: list[int], cursor: int, listening: set[int]
) -> None:
    table = Table.of(weights, order)
    instance = table.entries[cursor * STRIDE % ENTRIES]
    chosen = choose(table, cursor, listening)
    substitutes = [one for one in table.order if one in listening]
    assert chosen == (instance if instance in listening else substitutes[0] if substitutes else None)


def test_the_order_is_cut_and_has_no_duplicates() -> None:
    assert Table.of({}, [3, 3, *range(1, 100)]).order == (3, 1, 2, *range(4, FALLBACKS + 1))


def test_an_empty_table_chooses_no_slot() -> None:
    assert Table.of({}, []) == Table()
    assert choose(Table(), 7, set(range(1, INSTANCES))) is None


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_impossible_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight of instance 1"):
        Table.of({1: weight}, [])


@pytest.mark.parametrize("instance", [-1, 0, INSTANCES])
def test_impossible_instances_are_refused(instance: int) -> None:
    with pytest.raises(ValueError, match="instance"):
        Table.of({instance: 1}, [])
    with pytest.raises(ValueError, match="instance"):
        Table.of({}, [instance])
