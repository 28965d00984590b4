"""The table of a rollout's phases: complete, without loops, and honest about how it ended."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.app import OnFailure
from deployd.model.generation import Result
from deployd.model.rollout import Phase, Rollout
from deployd.plan.transitions import TABLE, Event, advance

ROLLING = Rollout("shop", origin=4, target=5, passed=frozenset({7}))
PAUSED = Rollout("shop", origin=4, target=5, phase=Phase.PAUSED, reason="instance 7 failed")
BACK = Rollout("shop", origin=4, target=5, phase=Phase.ROLLING_BACK, reason="instance 7 failed")

everything = list(product(Phase, Event, OnFailure, (4, None), (False, True)))


@pytest.mark.parametrize(("phase", "event", "on_failure", "origin", "aborted"), everything)
def test_every_event_has_an_answer_in_every_phase(
    phase: Phase, event: Event, on_failure: OnFailure, origin: int | None, aborted: bool
) -> None:
    rollout = Rollout("shop", origin, 5, phase, aborted=aborted)
    after = advance(rollout, event, on_failure, "why")
    assert (after is None) == ((phase, event) not in TABLE)
    if isinstance(after, Result):
        assert after not in (Result.RUNNING, Result.SUPERSEDED)
    elif after is not None:
        assert after.phase is not phase
        assert (after.app, after.origin, after.target) == ("shop", origin, 5)
        assert after.phase is not Phase.ROLLING or event is Event.RESUME, "no way forward but by resume"
        assert after.aborted == (aborted or event is Event.ABORT)


@given(st.lists(st.sampled_from([event for event in Event if event is not Event.RESUME])))
def test_a_rollout_that_nobody_resumes_ends_within_three_moves(events: list[Event]) -> None:
    at: Rollout | Result = ROLLING
    moves = 0
    for event in events:
        if isinstance(at, Result):
            break
        after = advance(at, event, OnFailure.ROLLBACK)
        moves += after is not None
        at = after or at
    assert moves <= 3


def test_forward_and_done() -> None:
    assert advance(ROLLING, Event.DONE, OnFailure.ROLLBACK) is Result.SUCCEEDED


def test_a_failed_gate_turns_back_or_pauses() -> None:
    back = advance(ROLLING, Event.FAILED, OnFailure.ROLLBACK, "instance 7 failed", frozenset({1, 2}))
    assert isinstance(back, Rollout)
    assert (back.phase, back.goal, back.reason) == (Phase.ROLLING_BACK, 4, "instance 7 failed")
    assert back.passed == {1, 2}, "what ran before needs no gate"
    paused = advance(ROLLING, Event.FAILED, OnFailure.PAUSE, "instance 7 failed")
    assert isinstance(paused, Rollout)
    assert (paused.phase, paused.goal) == (Phase.PAUSED, 5)
    assert paused.passed == {7}


def test_the_way_back_never_turns_round() -> None:
    for on_failure in OnFailure:
        assert advance(BACK, Event.DONE, on_failure) is Result.ROLLED_BACK
        assert advance(BACK, Event.FAILED, on_failure) is Result.FAILED
        assert advance(BACK, Event.BLOCKED, on_failure) is None  # tried again until the deadline
    for event in (Event.PAUSE, Event.RESUME, Event.ABORT):
        assert advance(BACK, event, OnFailure.ROLLBACK) is None


def test_a_first_deploy_that_fails_has_failed() -> None:
    first = Rollout("shop", origin=None, target=1)
    back = advance(first, Event.FAILED, OnFailure.ROLLBACK, "instance 1 failed")
    assert isinstance(back, Rollout)
    assert back.goal is None
    assert advance(back, Event.DONE, OnFailure.ROLLBACK) is Result.FAILED


@pytest.mark.parametrize("rollout", [ROLLING, PAUSED])
@pytest.mark.parametrize("origin", [4, None])
def test_abort_is_back_to_where_it_started(rollout: Rollout, origin: int | None) -> None:
    begun = Rollout("shop", origin, 5, rollout.phase, rollout.reason)
    back = advance(begun, Event.ABORT, OnFailure.PAUSE)
    assert isinstance(back, Rollout)
    assert (back.phase, back.aborted, back.reason) == (Phase.ROLLING_BACK, True, rollout.reason)
    assert advance(back, Event.DONE, OnFailure.PAUSE) is Result.ABORTED


def test_pause_and_resume() -> None:
    paused = advance(ROLLING, Event.PAUSE, OnFailure.ROLLBACK, "asked to")
    assert isinstance(paused, Rollout)
    assert (paused.phase, paused.reason) == (Phase.PAUSED, "asked to")
    on = advance(paused, Event.RESUME, OnFailure.ROLLBACK)
    assert on == ROLLING
    for event in (Event.DONE, Event.FAILED, Event.PAUSE, Event.BLOCKED):
        assert advance(paused, event, OnFailure.ROLLBACK) is None
