"""Where a rollback leads: further back each time, past nothing that cannot be undone, to nothing that is bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import InvalidRequest, Refused
from deployd.model.generation import Cause, Entry, Generation, Result
from deployd.plan.wayback import known_bad, way_back
from tests.state.four_rollouts import generation

OK, BAD, FAILED, ABORTED = Result.SUCCEEDED, Result.ROLLED_BACK, Result.FAILED, Result.ABORTED


class Past:
    """A history in the making: what is rolled out under which fingerprint, and what comes of it."""

    def __init__(self, *fingerprints: str) -> None:
        self.rows: list[Generation] = []
        self.current: int | None = None
        for item in fingerprints:
            self.roll(item)

    def roll(
        self, fingerprint: str, result: Result = OK, cause: Cause = Cause.ROLLOUT, irreversible: bool = False
    ) -> None:
        number = len(self.rows) + 1
        made = replace(
            generation(number, result),
            fingerprint=fingerprint,
            cause=cause,
            origin=self.current,
            irreversible=irreversible,
        )
        self.rows.insert(0, made)
        if result is OK:
            self.current = number

    def goal(self, to: int = 0, *, past: bool = False) -> Entry:
        assert self.current is not None
        return way_back(self.rows, self.current, to, past_irreversible=past)

    def back(self, to: int = 0, result: Result = OK) -> str:
        """Roll back; the fingerprint that this leads to."""
        fingerprint = self.goal(to, past=True).fingerprint
        self.roll(fingerprint, result, Cause.ROLLBACK)
        return fingerprint

    def refusal(self, to: int = 0) -> str:
        with pytest.raises(Refused) as refused:
            self.goal(to)
        return str(refused.value)


def test_the_last_good_one_before_that_differs() -> None:
    past = Past("a", "b", "b")
    assert past.goal().number == 1
    past.roll("c", ABORTED)
    past.roll("d")
    assert past.goal().number == 3


def test_twice_in_a_row_goes_further_back_and_then_no_further() -> None:
    past = Past("a", "b", "c")
    assert [past.back(), past.back()] == ["b", "a"]
    assert past.refusal() == (
        "demo has no good generation before 5 to go back to (2, 3, 4 known to be bad);"
        " deployd rollout demo --release DIR rolls out any release"
    )


def test_what_was_rolled_back_itself_is_not_gone_back_to() -> None:
    past = Past("a", "b")
    past.roll("a", BAD)  # a restart of an old release that does not start any more
    past.roll("c")
    assert past.goal().number == 2
    past.roll("b", FAILED)
    assert "1, 2, 3 known to be bad" in past.refusal()


def test_a_rollback_that_fails_does_not_try_the_same_again() -> None:
    past = Past("a", "b", "c")
    assert [past.back(result=BAD), past.back(result=BAD)] == ["b", "a"]
    assert "no good generation" in past.refusal()


def test_a_later_success_redeems() -> None:
    past = Past("a", "b")
    past.back()
    assert known_bad(past.rows) == {"b"}
    past.roll("b")
    assert known_bad(past.rows) == frozenset()
    assert past.back() == "a"
    assert known_bad(past.rows) == {"b"}


@pytest.mark.parametrize("result", [ABORTED, Result.SUPERSEDED])
def test_an_abort_says_nothing_against_what_had_served_before(result: Result) -> None:
    past = Past("a", "b")
    past.roll("a", result)
    assert past.goal().number == 1


def test_a_named_generation_must_have_been_live_and_good() -> None:
    past = Past("a", "b", "c")
    past.roll("d", ABORTED)
    past.roll("b", BAD)
    assert past.goal(1).number == 1
    assert past.refusal(4) == (
        "generation 4 of demo never went live (it ended aborted);"
        " deployd rollout demo --release /srv/demo/4 rolls it out as a new one"
    )
    assert past.refusal(2) == (
        "generation 2 of demo is known to be bad: generation 5, the same again, was rolled back;"
        " deployd rollout demo --release /srv/demo/2 rolls it out as a new one"
    )
    past.back(1)
    assert "generation 3 of demo is known to be bad: generation 6 was a rollback from it" in past.refusal(3)
    with pytest.raises(InvalidRequest, match="demo has no generation 9; see deployd history demo"):
        past.goal(9)


def test_other_settings_of_the_same_process_can_be_had_back() -> None:
    past = Past("a", "a")
    assert past.goal(1).number == 1
    past.back(1)
    assert known_bad(past.rows) == frozenset()


def test_there_is_no_way_past_what_cannot_be_undone() -> None:
    past = Past("a", "b")
    past.roll("c", irreversible=True)
    sentence = (
        "generation 3 of demo cannot be undone, and generation 2 is before it;"
        " deployd rollback demo --to 2 --past-irreversible goes there all the same"
    )
    assert past.refusal() == sentence
    assert past.goal(past=True).number == 2
    past.roll("d")
    assert past.goal().number == 3
    assert past.refusal(2) == sentence
    past.roll("e", FAILED, irreversible=True)  # it was never live: that it is gone undoes nothing
    assert past.goal().number == 3


results = st.sampled_from([OK, OK, OK, BAD, FAILED, ABORTED, Result.SUPERSEDED])
steps = st.lists(st.tuples(st.sampled_from("abcdef"), results, st.booleans()), max_size=12)


@given(steps, st.lists(st.sampled_from([OK, BAD, FAILED]), min_size=10, max_size=10))
def test_rollbacks_in_a_row_never_visit_a_process_twice(
    before: Sequence[tuple[str, Result, bool]], outcomes: list[Result]
) -> None:
    past = Past("a")
    for fingerprint, result, irreversible in before:
        past.roll(fingerprint, result, irreversible=irreversible)
    assert past.current is not None
    visited = [past.rows[-past.current].fingerprint]
    for outcome in outcomes:  # more than there are fingerprints: it ends with a refusal
        try:
            visited.append(past.back(result=outcome))
        except Refused:
            break
    else:
        pytest.fail(f"no end to {visited}")
    assert len(set(visited)) == len(visited)


@given(steps)
def test_a_way_back_is_live_good_and_before(before: Sequence[tuple[str, Result, bool]]) -> None:
    past = Past("a")
    for fingerprint, result, irreversible in before:
        past.roll(fingerprint, result, irreversible=irreversible)
    assert past.current is not None
    try:
        goal = past.goal()
    except Refused:
        return
    assert goal.result is OK
    assert goal.number < past.current
    assert goal.fingerprint not in known_bad(past.rows)
    assert not any(item.irreversible and item.result is OK for item in past.rows if goal.number < item.number)
