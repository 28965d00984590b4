"""Pruning a history does not change decisions about the generations that are kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import DeploydError, Refused
from deployd.model.generation import Cause, Entry, Result
from deployd.plan.rollback import kept, known_bad, rollback_target
from tests.plan.test_rollback import OK, Past, results

Steps = Sequence[tuple[str, Result, bool, int]]
steps = st.lists(
    st.tuples(st.sampled_from("abcdef"), results, st.booleans(), st.integers(min_value=0, max_value=3)), max_size=25
)
newest = st.integers(min_value=1, max_value=6)


def lived(steps: Steps) -> Past:
    """Return a history in which about every fourth step is a rollback, if possible."""
    past = Past("a")
    for fingerprint, result, irreversible, kind in steps:
        if kind:
            past.roll(fingerprint, result, irreversible=irreversible)
            continue
        try:
            past.back(result=result)
        except Refused:
            past.roll(fingerprint, result, Cause.ROLLBACK, irreversible)
    return past


def answer(rows: Sequence[Entry], current: int, to: int = 0, *, past: bool = False) -> int | str:
    try:
        return rollback_target(rows, current, to, past_irreversible=past).number
    except DeploydError as error:
        return type(error).__name__


def pruned(rows: Sequence[Entry], current: int | None, newest: int) -> list[Entry]:
    numbers = kept(rows, current, newest)
    return [item for item in rows if item.number in numbers]


@given(steps, newest, st.booleans())
def test_pruning_does_not_change_the_target_of_a_rollback(steps: Steps, newest: int, beyond: bool) -> None:
    past = lived(steps)
    assert past.current is not None
    left = pruned(past.rows, past.current, newest)
    for to in (0, *(item.number for item in left)):
        assert answer(left, past.current, to, past=beyond) == answer(past.rows, past.current, to, past=beyond)


@given(steps, newest)
def test_pruning_does_not_change_which_fingerprints_are_bad(steps: Steps, newest: int) -> None:
    past = lived(steps)
    left = pruned(past.rows, past.current, newest)
    live = {item.fingerprint for item in left if item.result is OK}
    assert known_bad(left) & live == known_bad(past.rows) & live


@given(steps, newest)
def test_pruning_at_every_step_never_makes_a_bad_generation_the_target(steps: Steps, newest: int) -> None:
    past, left = lived(steps), list[Entry]()
    for item in reversed(past.rows):
        left = [item, *left]
        current = max((row.number for row in left if row.result is OK), default=None)
        left = pruned(left, current, newest)
        whole = [row for row in past.rows if row.number <= item.number]
        if current is not None and isinstance(goal := answer(left, current), int):
            assert next(row for row in whole if row.number == goal).fingerprint not in known_bad(whole)


@given(steps, newest)
def test_the_number_of_kept_generations_is_bounded(steps: Steps, newest: int) -> None:
    past = lived(steps)
    numbers = kept(past.rows, past.current, newest)
    assert {item.number for item in past.rows[:newest]} <= numbers
    assert len(numbers) <= newest + 3 + 2 * len({item.fingerprint for item in past.rows})


def test_the_current_generation_is_kept() -> None:
    past = Past(*"abcdef")
    assert kept(past.rows, 6, 1, {2, 9}) == {2, 5, 6}


@pytest.mark.parametrize("count", [100, 10_000])
def test_thousands_of_failures_are_pruned(count: int) -> None:
    past = Past("a", "b")
    for number in range(count):
        past.roll(f"broken {number}", Result.ROLLED_BACK)
    assert len(kept(past.rows, past.current, 20)) == 22
