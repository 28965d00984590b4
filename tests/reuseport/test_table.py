"""The steering table: tickets add up, shares hold in every run of connections, stand-ins come in order."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.reuseport.table import FALLBACKS, SLOTS, STRIDE, TICKETS, Table, choose

slots = st.integers(1, SLOTS - 1)
some_shares = st.dictionaries(slots, st.floats(0, 1e308) | st.integers(0, 100), max_size=40)
some_order = st.lists(slots, max_size=30)
cursors = st.integers(0, 2**32 - 1)


@given(some_shares, some_order)
def test_tickets_add_up_and_everyone_with_a_share_has_one(shares: dict[int, float], order: list[int]) -> None:
    table = Table.of(shares, order)
    assert len(table.tickets) == TICKETS
    held = set(table.tickets)
    if any(shares.values()):
        assert held == {slot for slot, share in shares.items() if share}
    else:
        assert held == {order[0] if order else 0}


@given(st.dictionaries(slots, st.integers(1, 100), min_size=1, max_size=40), some_order)
def test_each_has_its_share_to_the_nearest_ticket(shares: dict[int, int], order: list[int]) -> None:
    counts = Counter(Table.of(shares, order).tickets)
    total = sum(shares.values())
    for slot, share in shares.items():
        assert abs(counts[slot] - share * TICKETS / total) < 1


@given(some_shares)
def test_who_has_more_never_has_fewer_tickets(shares: dict[int, float]) -> None:
    counts = Counter(Table.of(shares, []).tickets)
    wanting = sorted((share, counts[slot]) for slot, share in shares.items() if share)
    for (less, few), (more, many) in pairwise(wanting):
        assert less == more or few <= many


@given(st.dictionaries(slots, st.floats(1e-12, 1e-9), min_size=1, max_size=50))
def test_the_tiny_are_paid_by_the_great(tiny: dict[int, float]) -> None:
    great = next(slot for slot in range(1, SLOTS) if slot not in tiny)
    counts = Counter(Table.of({**tiny, great: 1.0}, []).tickets)
    assert all(counts[slot] == 1 for slot in tiny)
    assert counts[great] == TICKETS - len(tiny)


@settings(max_examples=25)
@given(some_shares, some_order, cursors)
def test_shares_are_exact_in_every_run_of_all_tickets(shares: dict[int, float], order: list[int], first: int) -> None:
    table = Table.of(shares, order)
    # The kernel's cursor has 32 bits and may wrap within the run.
    drawn = Counter(table.tickets[(cursor % 2**32) * STRIDE % TICKETS] for cursor in range(first, first + TICKETS))
    assert drawn == Counter(table.tickets)


@settings(max_examples=25)
@given(st.integers(1, 99), st.integers(20, 1000), cursors)
def test_shorter_runs_are_nearly_so(percent: int, length: int, first: int) -> None:
    table = Table.of({1: percent, 2: 100 - percent}, [])
    drawn = sum(choose(table, cursor, {1, 2}) == 1 for cursor in range(first, first + length))
    assert abs(drawn - length * percent / 100) <= 5


@given(some_shares, some_order, cursors, st.sets(slots))
def test_the_first_in_order_stands_in(
    shares: dict[int, float], order: list[int], cursor: int, listening: set[int]
) -> None:
    table = Table.of(shares, order)
    slot = table.tickets[cursor * STRIDE % TICKETS]
    chosen = choose(table, cursor, listening)
    stand_ins = [one for one in table.order if one in listening]
    assert chosen == (slot if slot in listening else stand_ins[0] if stand_ins else None)


def test_the_order_is_cut_and_says_nothing_twice() -> None:
    assert Table.of({}, [3, 3, *range(1, 100)]).order == (3, 1, 2, *range(4, FALLBACKS + 1))


def test_a_table_of_nobody_chooses_nobody() -> None:
    assert Table.of({}, []) == Table()
    assert choose(Table(), 7, set(range(1, SLOTS))) is None


@pytest.mark.parametrize("share", [-1, float("nan"), float("inf")])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of slot 1"):
        Table.of({1: share}, [])


@pytest.mark.parametrize("slot", [-1, 0, SLOTS])
def test_impossible_slots_are_refused(slot: int) -> None:
    with pytest.raises(ValueError, match="slot"):
        Table.of({slot: 1}, [])
    with pytest.raises(ValueError, match="slot"):
        Table.of({}, [slot])
