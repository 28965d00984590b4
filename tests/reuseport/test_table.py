"""The steering table: entries follow from weights, in every run of connections, and the least loaded is chosen."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.steering import RANKS, Group
from deployd.reuseport.slots import OPEN_BITS, SECOND, Slot
from deployd.reuseport.table import ENTRIES, FALLBACKS, GROUPS, INSTANCES, MEMBERS, STRIDE, Table, choose
from tests.reuseport.sockets import equal, weighted

NOW = 10**6 * SECOND
instances = st.integers(1, INSTANCES - 1)
some_weights = st.dictionaries(instances, st.floats(0, 1e308) | st.integers(0, 100), max_size=40)
some_order = st.lists(instances, max_size=30)
cursors = st.integers(0, 2**32 - 1)
members = st.lists(st.tuples(instances, st.integers(0, RANKS - 1)), max_size=300, unique_by=lambda item: item[0])


@given(some_weights, some_order)
def test_each_group_with_a_weight_has_entries(weights: dict[int, float], order: list[int]) -> None:
    table = weighted(weights, order)
    assert len(table.entries) == ENTRIES
    assert set(table.entries) == set(range(max(1, len(table.groups))))
    named = {number for group in table.groups for number, _ in group}
    if any(weights.values()):
        assert named == {instance for instance, weight in weights.items() if weight}
    else:
        assert named == set(order[:1])


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), some_order)
def test_entries_are_proportional_to_weights(weights: list[int], order: list[int]) -> None:
    counts = Counter(weighted(dict(enumerate(weights, 1)), order).entries)
    for place, weight in enumerate(weights):
        assert abs(counts[place] - weight * ENTRIES / sum(weights)) < 1


@given(some_weights)
def test_a_larger_weight_never_has_fewer_entries(weights: dict[int, float]) -> None:
    counts = Counter(weighted(weights, []).entries)
    present = [weight for weight in weights.values() if weight]
    ascending = sorted((weight, counts[place]) for place, weight in enumerate(present))
    for (less, few), (more, many) in pairwise(ascending):
        assert less == more or few <= many


@given(st.lists(st.floats(1e-12, 1e-9), min_size=1, max_size=50))
def test_the_tiny_are_paid_by_the_large(tiny: list[float]) -> None:
    counts = Counter(weighted(dict(enumerate([*tiny, 1.0], 1)), []).entries)
    assert all(counts[place] == 1 for place in range(len(tiny)))
    assert counts[len(tiny)] == ENTRIES - len(tiny)


@settings(max_examples=25)
@given(some_weights, some_order, cursors)
def test_weights_are_exact_in_every_run_of_all_entries(weights: dict[int, float], order: list[int], first: int) -> None:
    table = weighted(weights, order)
    # The kernel's cursor has 32 bits and may wrap within the run.
    chosen_entries = Counter(
        table.entries[(cursor % 2**32) * STRIDE % ENTRIES] for cursor in range(first, first + ENTRIES)
    )
    assert chosen_entries == Counter(table.entries)


@settings(max_examples=25)
@given(st.integers(1, 99), st.integers(20, 1000), cursors)
def test_weights_are_nearly_exact_in_shorter_runs(percent: int, length: int, first: int) -> None:
    table = weighted({1: percent, 2: 100 - percent}, [])
    chosen_entries = sum(choose(table, cursor, {1, 2}, {}, NOW) == 1 for cursor in range(first, first + length))
    assert abs(chosen_entries - length * percent / 100) <= 5


@given(some_weights, some_order, cursors, st.sets(instances))
def test_a_group_of_which_none_listens_is_replaced_by_the_first_in_order(
    weights: dict[int, float], order: list[int], cursor: int, listening: set[int]
) -> None:
    table = weighted(weights, order)
    place = table.entries[cursor * STRIDE % ENTRIES]
    chosen = choose(table, cursor, listening, {}, NOW)
    [named] = [number for number, _ in table.groups[place]] if table.groups else [0]
    substitutes = [one for one in table.order if one in listening]
    assert chosen == (named if named in listening else substitutes[0] if substitutes else None)


def test_the_order_is_cut_and_has_no_duplicates() -> None:
    assert Table.of([], [3, 3, *range(1, 100)]).order == (3, 1, 2, *range(4, FALLBACKS + 1))


@given(members, st.integers(1, 9))
def test_a_large_group_is_divided_by_members_and_ranks(items: list[tuple[int, int]], weight: int) -> None:
    table = Table.of([Group(tuple(items), weight), Group(((1, 0),), weight)], [])
    *parts, _ = table.groups
    assert sorted(member for part in parts for member in part) == sorted(items)
    assert all(len(part) <= MEMBERS for part in parts)
    counts = Counter(table.entries)
    for place, part in enumerate(parts):
        assert abs(counts[place] - ENTRIES / 2 * len(part) / len(items)) < 1
        ranks = Counter(rank for _, rank in items)
        assert all(count - ranks[rank] / len(parts) < 1 for rank, count in Counter(rank for _, rank in part).items())


@given(st.lists(st.integers(1, 50), min_size=GROUPS + 1, max_size=INSTANCES - 1))
def test_of_too_many_groups_those_with_similar_weights_are_joined(weights: list[int]) -> None:
    table = weighted(dict(enumerate(weights, 1)), [])
    assert len(table.groups) <= GROUPS
    assert sorted(number for group in table.groups for number, _ in group) == list(range(1, len(weights) + 1))
    for group, next_group in pairwise(table.groups):
        assert max(weights[number - 1] for number, _ in group) <= min(weights[number - 1] for number, _ in next_group)
    counts = Counter(table.entries)
    for place, group in enumerate(table.groups):
        due = ENTRIES * sum(weights[number - 1] for number, _ in group) / sum(weights)
        assert abs(counts[place] - due) < 1


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (Group(((0, 0),), 1), "instance 0 is not between 1 and 1023"),
        (Group(((1024, 0),), 1), "instance 1024 is not between"),
        (Group(((1, 64),), 1), "the rank of instance 1 is 64; it must be from 0 to 63"),
        (Group(((1, 0),), -1), "the weight of a group is -1; it must be"),
        (Group(((1, 0),), float("nan")), "the weight of a group is nan"),
    ],
)
def test_an_impossible_group_is_refused(group: Group, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Table.of([group], [])
    with pytest.raises(ValueError, match="instance 0 is not between"):
        Table.of([], [0])


def chosen(slots: dict[int, Slot], ranks: dict[int, int] | None = None) -> int | None:
    """Return which of these instances is chosen; all listen."""
    ranked = ranks or dict.fromkeys(slots, 0)
    table = Table.of([Group(tuple(ranked.items()), 1)], [])
    return choose(table, 0, slots, slots, NOW)


def test_the_order_of_the_key_is_load_then_rank_then_open_then_age_then_number() -> None:
    idle = Slot(progress=NOW, chosen_at=NOW)
    busy = Slot(progress=NOW, chosen_at=NOW, in_flight=1, open=1)
    assert chosen({1: busy, 2: idle}) == 2
    assert chosen({1: busy, 2: idle}, {1: 0, 2: 63}) == 2, "a busy new one takes nothing that an idle old one could"
    assert chosen({1: idle, 2: idle}, {1: 1, 2: 0}) == 2, "among idle ones the newest goes first"
    assert chosen({1: idle, 2: Slot(progress=NOW, chosen_at=NOW, open=100)}, {1: 1, 2: 0}) == 2
    assert chosen({1: Slot(open=2), 2: Slot(open=1)}) == 2
    assert chosen({1: Slot(chosen_at=NOW - SECOND), 2: Slot(chosen_at=NOW - 2 * SECOND)}) == 2
    assert chosen({2: idle, 1: idle}) == 1
    assert chosen({1: Slot(chosen_at=NOW, pending=2), 2: busy}) == 2, "pending ones count like requests in flight"
    assert chosen({1: Slot(chosen_at=NOW - SECOND, pending=2), 2: busy}) == 1, "until they are forgotten"
    assert chosen({1: Slot(in_flight=-5, open=-5), 2: Slot(chosen_at=1)}) == 1, "less than 0 is 0"
    assert chosen({1: Slot(in_flight=10**6, open=10**9, progress=NOW), 2: busy}) == 2, "numbers do not overflow"
    most = (1 << OPEN_BITS) - 1
    assert chosen({1: Slot(open=most + 7, chosen_at=2), 2: Slot(open=most, chosen_at=1)}) == 1, (
        "nor differ at the limit"
    )


def silent(seconds: float, in_flight: int = 1, typical: float = 0.004, longest: float = 0.0) -> Slot:
    return Slot(
        in_flight=in_flight,
        open=in_flight,
        progress=NOW - int(seconds * SECOND),
        typical=int(typical * SECOND),
        longest=int(longest * SECOND),
    )


def test_an_instance_that_is_late_counts_as_busier_and_a_hung_one_comes_last() -> None:
    assert chosen({1: silent(0.002), 2: silent(0.002, 2)}) == 1
    assert chosen({1: silent(0.014), 2: silent(0.002, 8)}) == 2, "5 ms and twice the typical time have passed"
    assert chosen({1: silent(0.014), 2: silent(0.002, 11)}) == 1
    assert chosen({1: silent(0.1), 2: silent(0.002, 50)}) == 2, "one more for each millisecond"
    assert chosen({1: silent(0.1, typical=0.1), 2: silent(0.002, 2)}) == 1, "it is as slow as ever"
    assert chosen({1: silent(1.1), 2: silent(0.002, 10**6)}) == 2, "hung"
    assert chosen({1: silent(1.1), 2: silent(90, 2)}) == 1, "all are hung"
    assert chosen({1: silent(5, typical=1), 2: silent(0.002, 5000)}) == 1, "its requests take that long"
    assert chosen({1: silent(90, 0), 2: silent(0.002)}) == 1, "it has nothing to do"
    assert silent(1.1).load(NOW).hung(NOW / SECOND)
    assert not silent(1.0).load(NOW).hung(NOW / SECOND)


def test_an_instance_that_was_silent_for_as_long_before_counts_as_a_little_busier_only() -> None:
    """It may have a free thread, and is soon done if it has none: at the others the rest would wait for longer."""
    costly = silent(0.15, longest=0.2)
    assert chosen({1: costly, 2: silent(0.002, 2)}) == 2
    assert chosen({1: costly, 2: silent(0.002, 4)}) == 1
    assert chosen({1: silent(0.15, longest=0.01), 2: silent(0.002, 50)}) == 2, "that is far longer than ever"
    assert chosen({1: silent(1.1, longest=1.0), 2: silent(0.002, 10**6)}) == 2, "hung"


def test_without_counts_instances_take_turns() -> None:
    slots = {1: Slot(in_flight=0, chosen_at=NOW), 2: Slot(in_flight=9, chosen_at=NOW - SECOND)}
    table = equal(1, 2)
    assert choose(table, 0, slots, slots, NOW) == 1
    assert choose(table, 0, slots, slots, NOW, least_busy=False) == 2


@given(
    st.builds(
        Slot,
        *[st.integers(-(2**63), 2**63 - 1) if place in {0, 1, 3} else st.integers(0, 2**64 - 1) for place in range(9)],
    )
)
def test_a_slot_is_read_back_as_it_was_written(slot: Slot) -> None:
    assert Slot.parse(slot.value) == slot
