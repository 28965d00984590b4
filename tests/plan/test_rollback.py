"""The target of a rollback: further back each time, never past an irreversible generation, never a bad one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import InvalidRequest, Refused
from deployd.model.generation import Cause, Entry, Generation, Result
from deployd.plan.rollback import doubt, kept, known_bad, rollback_target
from tests.state.four_rollouts import generation

OK, BAD, FAILED, ABORTED = Result.SUCCEEDED, Result.ROLLED_BACK, Result.FAILED, Result.ABORTED


class Past:
    """Builds a history from fingerprints and the results of their rollouts."""

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
        return rollback_target(self.rows, self.current, to, past_irreversible=past)

    def doubt(self, to: int) -> str:
        return doubt(self.rows, self.goal(to))

    def back(self, to: int = 0, result: Result = OK) -> str:
        """Roll back; return the fingerprint of the target."""
        fingerprint = self.goal(to, past=True).fingerprint
        self.roll(fingerprint, result, Cause.ROLLBACK)
        return fingerprint

    def refusal(self, to: int = 0) -> str:
        with pytest.raises(Refused) as refused:
            self.goal(to)
        return str(refused.value)


def test_the_target_is_the_last_good_generation_with_another_process() -> None:
    past = Past("a", "b", "b")
    assert past.goal().number == 1
    past.roll("c", ABORTED)
    past.roll("d")
    assert past.goal().number == 3


@pytest.mark.parametrize(
    ("result", "how"),
    [(BAD, "rolled back automatically"), (FAILED, "rolled back automatically"), (ABORTED, "aborted")],
)
@pytest.mark.parametrize("cause", [Cause.ROLLOUT, Cause.RESTART, Cause.SCALE])
def test_what_has_gone_already_is_not_rolled_back_again(result: Result, how: str, cause: Cause) -> None:
    past = Past("a", "b")
    past.roll("c", result, cause)
    assert past.refusal() == (
        f"generation 3 of demo was {how}, and generation 2 is current again; to roll that back as well, run"
        " deployd rollback demo --to 1"
    )
    assert past.goal(1).number == 1
    assert 1 in kept(past.rows, past.current, 1)


def test_what_failed_on_probation_is_not_rolled_back_again() -> None:
    past = Past("a", "b", "c")
    past.roll("b", OK, Cause.WATCH)
    assert "generation 3 of demo was rolled back automatically, and generation 4 is current again" in past.refusal()
    assert past.goal(1).number == 1


def test_repeated_rollbacks_go_further_back_until_none_is_left() -> None:
    past = Past("a", "b", "c")
    assert [past.back(), past.back()] == ["b", "a"]
    assert past.refusal() == (
        "demo has no good generation before 5 to roll back to (2, 3, 4 known to be bad);"
        " to roll out any release, run deployd rollout demo --release DIR"
    )


def test_a_generation_whose_later_rollout_failed_is_no_target() -> None:
    past = Past("a", "b")
    past.roll("a", BAD)  # an old release that does not start any more
    past.roll("c")
    assert past.goal().number == 2
    past.roll("b", FAILED)
    assert "1, 2, 3 known to be bad" in past.refusal()


def test_the_target_of_a_failed_rollback_is_not_tried_again() -> None:
    past = Past("a", "b", "c")
    assert [past.back(result=BAD), past.back(result=BAD)] == ["b", "a"]
    assert "no good generation" in past.refusal()


def test_after_an_aborted_rollback_the_next_has_the_same_target() -> None:
    past = Past("a", "b", "c")
    assert [past.back(result=ABORTED), past.back()] == ["b", "b"]


def test_a_later_success_makes_a_fingerprint_good_again() -> None:
    past = Past("a", "b")
    past.back()
    assert known_bad(past.rows) == {"b"}
    past.roll("b")
    assert known_bad(past.rows) == frozenset()
    assert past.back() == "a"
    assert known_bad(past.rows) == {"b"}


@pytest.mark.parametrize("result", [ABORTED, Result.SUPERSEDED])
def test_an_abort_does_not_make_a_fingerprint_bad(result: Result) -> None:
    past = Past("a", "b")
    past.roll("a", result)
    past.roll("b")
    assert past.goal().number == 1


def test_any_requested_generation_is_rolled_out_with_what_is_known_against_it() -> None:
    past = Past("a", "b", "c")
    past.roll("d", ABORTED)
    past.roll("b", BAD)
    assert past.doubt(1) == ""
    assert past.doubt(4) == "generation 4 never went live (it ended aborted)"
    assert past.doubt(2) == "generation 2 is known to be bad: generation 5 with the same process was rolled back"
    past.back(1)
    assert past.doubt(3) == "generation 3 is known to be bad: generation 6 was a rollback from it"
    with pytest.raises(InvalidRequest, match="demo has no generation 9; see deployd history demo"):
        past.goal(9)


def test_a_generation_with_the_same_process_can_be_requested() -> None:
    past = Past("a", "a")
    assert past.goal(1).number == 1
    past.back(1)
    assert known_bad(past.rows) == frozenset()


def test_a_rollback_past_an_irreversible_generation_is_refused() -> None:
    past = Past("a", "b")
    past.roll("c", irreversible=True)
    sentence = (
        "generation 3 of demo is irreversible, and generation 2 is older; to roll back nevertheless,"
        " run deployd rollback demo --to 2 --past-irreversible"
    )
    assert past.refusal() == sentence
    assert past.goal(past=True).number == 2
    past.roll("d")
    assert past.goal().number == 3
    assert past.refusal(2) == sentence
    past.roll("e", FAILED, irreversible=True)  # it was never live
    assert past.goal(3).number == 3


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
    for outcome in outcomes:  # more than there are fingerprints, so the last is refused
        try:
            visited.append(past.back(result=outcome))
        except Refused:
            break
    else:
        pytest.fail(f"no end to {visited}")
    assert len(set(visited)) == len(visited)


@given(steps)
def test_the_target_was_live_is_good_and_older(before: Sequence[tuple[str, Result, bool]]) -> None:
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
