"""The table of a rollout's phases: complete, without loops, and with the right results."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.generation import Result
from deployd.model.pace import OnFailure
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.plan.transitions import TABLE, Event, advance

ROLLING = Rollout("shop", origin=4, target=5, passed=frozenset({7}))
PAUSED = Rollout("shop", origin=4, target=5, phase=Phase.PAUSED, reason="instance 7 failed")
BACK = Rollout("shop", origin=4, target=5, phase=Phase.ROLLING_BACK, reason="instance 7 failed")

everything = list(product(Phase, Event, OnFailure, (4, None), (False, True)))


@pytest.mark.parametrize(("phase", "event", "on_failure", "origin", "aborted"), everything)
def test_every_event_is_defined_in_every_phase(
    phase: Phase, event: Event, on_failure: OnFailure, origin: int | None, aborted: bool
) -> None:
    pause = Pause.HELD if phase is Phase.PAUSED else Pause.NONE
    holds = (Hold(1, smoke=True),) if event is Event.TESTED else ()
    rollout = Rollout("shop", origin, 5, phase, aborted=aborted, pause=pause, holds=holds)
    after = advance(rollout, event, on_failure, "why")
    assert (after is None) == ((phase, event) not in TABLE)
    if isinstance(after, Result):
        assert after not in (Result.RUNNING, Result.SUPERSEDED)
    elif after is not None:
        paused_on = phase is Phase.PAUSED and event is Event.FAILED and on_failure is OnFailure.PAUSE
        assert after.phase is not phase or event in (Event.CLOSING, Event.TESTED) or paused_on
        assert (after.app, after.origin, after.target) == ("shop", origin, 5)
        forward = event in (Event.RESUME, Event.CLOSING, Event.TESTED)
        assert after.phase is not Phase.ROLLING or forward, "only a resume continues a rollout"
        assert (after.pause is Pause.NONE) == (after.phase is not Phase.PAUSED)
        assert after.aborted == (aborted or event is Event.ABORT)


@given(st.lists(st.sampled_from([event for event in Event if event not in (Event.RESUME, Event.ABORT)])))
def test_without_requests_a_rollout_pauses_or_ends_within_five_moves(events: list[Event]) -> None:
    at: Rollout | Result = ROLLING
    moves = 0
    for event in events:
        if isinstance(at, Result):
            break
        after = advance(at, event, OnFailure.ROLLBACK)
        moves += after is not None
        at = after or at
    assert moves <= 5


def test_only_what_waits_for_tests_is_tested() -> None:
    assert advance(ROLLING, Event.TESTED, OnFailure.ROLLBACK) is None
    assert advance(replace(ROLLING, holds=(Hold(1, canary=True),)), Event.TESTED, OnFailure.ROLLBACK) is None


def test_a_rollout_that_is_done_has_succeeded() -> None:
    assert advance(ROLLING, Event.DONE, OnFailure.ROLLBACK) is Result.SUCCEEDED


def test_a_failed_gate_rolls_back_or_pauses() -> None:
    back = advance(ROLLING, Event.FAILED, OnFailure.ROLLBACK, "instance 7 failed", frozenset({1, 2}))
    assert isinstance(back, Rollout)
    assert (back.phase, back.goal, back.reason) == (Phase.ROLLING_BACK, 4, "instance 7 failed")
    assert back.passed == {1, 2}, "instances that ran before need no gate"
    paused = advance(ROLLING, Event.FAILED, OnFailure.PAUSE, "instance 7 failed")
    assert isinstance(paused, Rollout)
    assert (paused.phase, paused.goal) == (Phase.PAUSED, 5)
    assert paused.passed == {7}


def test_a_rollback_never_turns_into_a_rollout() -> None:
    for on_failure in OnFailure:
        assert advance(BACK, Event.DONE, on_failure) is Result.ROLLED_BACK
        stands = advance(BACK, Event.FAILED, on_failure, "no")
        assert isinstance(stands, Rollout)
        assert (stands.phase, stands.pause) == (Phase.PAUSED, Pause.STRANDED), "until a request"
        assert advance(BACK, Event.BLOCKED, on_failure) is None  # retried until the deadline
    for event in (Event.PAUSE, Event.RESUME, Event.ABORT):
        assert advance(BACK, event, OnFailure.ROLLBACK) is None


def test_a_first_deployment_that_fails_has_failed() -> None:
    first = Rollout("shop", origin=None, target=1)
    back = advance(first, Event.FAILED, OnFailure.ROLLBACK, "instance 1 failed")
    assert isinstance(back, Rollout)
    assert back.goal is None
    assert advance(back, Event.DONE, OnFailure.ROLLBACK) is Result.FAILED


@pytest.mark.parametrize("rollout", [ROLLING, PAUSED])
@pytest.mark.parametrize("origin", [4, None])
def test_an_abort_rolls_back_to_the_origin(rollout: Rollout, origin: int | None) -> None:
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


def test_resume_passes_a_hold() -> None:
    holds = (Hold(1, canary=True), Hold(2))
    held = advance(replace(ROLLING, holds=holds), Event.HELD, OnFailure.ROLLBACK, "canary")
    assert isinstance(held, Rollout)
    assert (held.phase, held.pause, held.holds) == (Phase.PAUSED, Pause.HELD, holds)
    on = advance(held, Event.RESUME, OnFailure.ROLLBACK)
    assert isinstance(on, Rollout)
    assert on.holds == (Hold(2),)
    asked = advance(replace(ROLLING, holds=holds), Event.PAUSE, OnFailure.ROLLBACK, "asked to")
    assert isinstance(asked, Rollout)
    again = advance(asked, Event.RESUME, OnFailure.ROLLBACK)
    assert isinstance(again, Rollout)
    assert again.holds == holds, "a pause by request has not reached the hold"


def test_a_weight_lasts_until_the_hold_is_passed_or_a_rollback() -> None:
    weighed = replace(ROLLING, holds=(Hold(1, canary=True),), weight=(2, 0.1))
    held = advance(weighed, Event.HELD, OnFailure.ROLLBACK, "canary")
    asked = advance(weighed, Event.PAUSE, OnFailure.ROLLBACK, "asked to")
    assert isinstance(held, Rollout)
    assert isinstance(asked, Rollout)
    kept = advance(asked, Event.RESUME, OnFailure.ROLLBACK)
    assert isinstance(kept, Rollout)
    assert held.weight == asked.weight == kept.weight == (2, 0.1)
    for event in (Event.RESUME, Event.ABORT, Event.FAILED):
        turned = advance(held, event, OnFailure.ROLLBACK)
        assert isinstance(turned, Rollout)
        assert turned.weight is None


def test_a_canary_that_fails_during_its_pause_is_rolled_back() -> None:
    held = replace(ROLLING, phase=Phase.PAUSED, pause=Pause.HELD, holds=(Hold(1, canary=True),))
    back = advance(held, Event.FAILED, OnFailure.ROLLBACK, "instance 5 keeps crashing", frozenset({1}))
    assert isinstance(back, Rollout)
    assert (back.phase, back.reason) == (Phase.ROLLING_BACK, "instance 5 keeps crashing")
    assert advance(replace(held, pause=Pause.REQUESTED), Event.FAILED, OnFailure.ROLLBACK) is None


def test_an_impossible_rollback_pauses_until_a_request() -> None:
    stranded = advance(BACK, Event.STRANDED, OnFailure.ROLLBACK, "the release is gone")
    assert isinstance(stranded, Rollout)
    assert (stranded.phase, stranded.pause, stranded.reason) == (Phase.PAUSED, Pause.STRANDED, "the release is gone")
    back = advance(stranded, Event.RESUME, OnFailure.ROLLBACK, trusted=frozenset({1}))
    assert isinstance(back, Rollout)
    assert (back.phase, back.reason, back.passed) == (Phase.ROLLING_BACK, "the release is gone", frozenset({1}))


def test_the_second_pass_of_a_changed_listen_begins_once_and_from_the_start() -> None:
    again = advance(ROLLING, Event.CLOSING, OnFailure.ROLLBACK, "the old address closes")
    assert isinstance(again, Rollout)
    assert (again.phase, again.closing, again.passed) == (Phase.ROLLING, True, frozenset())
    assert advance(again, Event.CLOSING, OnFailure.ROLLBACK) is None
    back = advance(again, Event.FAILED, OnFailure.ROLLBACK, "no", frozenset())
    assert isinstance(back, Rollout)
    assert not back.closing
