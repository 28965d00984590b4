"""The steering table: entries follow from weights, in every run of connections, and the order is tried in turn."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.reuseport.table import ENTRIES, FALLBACKS, SLOTS, STRIDE, Table, choose

slots = st.integers(1, SLOTS - 1)
some_weights = st.dictionaries(slots, st.floats(0, 1e308) | st.integers(0, 100), max_size=40)
some_order = st.lists(slots, max_size=30)
cursors = st.integers(0, 2**32 - 1)


@given(some_weights, some_order)
def test_each_slot_with_a_weight_has_entries(weights: dict[int, float], order: list[int]) -> None:
    table = Table.of(weights, order)
    assert len(table.entries) == ENTRIES
    named = set(table.entries)
    if any(weights.values()):
        assert named == {slot for slot, weight in weights.items() if weight}
    else:
        assert named == {order[0] if order else 0}


@given(st.dictionaries(slots, st.integers(1, 100), min_size=1, max_size=40), some_order)
def test_entries_are_proportional_to_weights(weights: dict[int, int], order: list[int]) -> None:
    counts = Counter(Table.of(weights, order).entries)
    total = sum(weights.values())
    for slot, weight in weights.items():
        assert abs(counts[slot] - weight * ENTRIES / total) < 1


@given(some_weights)
def test_a_larger_weight_never_has_fewer_entries(weights: dict[int, float]) -> None:
    counts = Counter(Table.of(weights, []).entries)
    ascending = sorted((weight, counts[slot]) for slot, weight in weights.items() if weight)
    for (less, few), (more, many) in pairwise(ascending):
        assert less == more or few <= many


@given(st.dictionaries(slots, st.floats(1e-12, 1e-9), min_size=1, max_size=50))
def test_the_tiny_are_paid_by_the_large(tiny: dict[int, float]) -> None:
    large = next(slot for slot in range(1, SLOTS) if slot not in tiny)
    counts = Counter(Table.of({**tiny, large: 1.0}, []).entries)
    assert all(counts[slot] == 1 for slot in tiny)
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


@given(some_weights, some_order, cursors, st.sets(slots))
def test_a_slot_that_does_not_listen_is_replaced_by_the_first_in_order(
    weights: dict[int, float], order: list[int], cursor: int, listening: set[int]
) -> None:
    table = Table.of(weights, order)
    slot = table.entries[cursor * STRIDE % ENTRIES]
    chosen = choose(table, cursor, listening)
    substitutes = [one for one in table.order if one in listening]
    assert chosen == (slot if slot in listening else substitutes[0] if substitutes else None)


def test_the_order_is_cut_and_has_no_duplicates() -> None:
    assert Table.of({}, [3, 3, *range(1, 100)]).order == (3, 1, 2, *range(4, FALLBACKS + 1))


def test_an_empty_table_chooses_no_slot() -> None:
    assert Table.of({}, []) == Table()
    assert choose(Table(), 7, set(range(1, SLOTS))) is None


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_impossible_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight of slot 1"):
        Table.of({1: weight}, [])


@pytest.mark.parametrize("slot", [-1, 0, SLOTS])
def test_impossible_slots_are_refused(slot: int) -> None:
    with pytest.raises(ValueError, match="slot"):
        Table.of({slot: 1}, [])
    with pytest.raises(ValueError, match="slot"):
        Table.of({}, [slot])
