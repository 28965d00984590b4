"""Attempts to open a socket again are bounded, and end when it is open."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployd.plan.reopening import LONGEST, SETTLE, Reopening

TIMES = st.integers(0, 10**6)


@given(TIMES, st.integers(0, 40))
def test_the_delay_grows_and_is_bounded(now: float, failures: int) -> None:
    attempts, delays = Reopening().observed(now, closed=True), [SETTLE]
    for _ in range(failures):
        assert attempts.next_at is not None
        now = attempts.next_at
        assert attempts.is_due(now)
        attempts = attempts.failed(now)
        assert attempts.next_at is not None
        assert not attempts.is_due(now)
        delays.append(round(attempts.next_at - now, 3))
    assert delays == sorted(delays)
    assert max(delays) <= LONGEST


@given(TIMES, TIMES)
def test_the_first_attempt_waits_until_the_socket_may_be_meant_to_stay_closed(now: float, later: float) -> None:
    attempts = Reopening().observed(now, closed=True)
    assert not attempts.is_due(now)
    assert attempts.is_due(now + SETTLE)
    assert attempts.observed(later, closed=True) is attempts  # seeing it again delays nothing
    assert attempts.failed(now).observed(later, closed=False) == Reopening()
    assert not Reopening().is_due(later)
