"""Limits of the method calls of one user."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployd.bus.admission import AT_ONCE, BURST, RATE, REFUSALS, WAITING, Allowance, Bucket
from deployd.bus.calls import MOST_CALLS


def taken(allowance: Allowance[int], now: float) -> list[int]:
    return list(iter(lambda: allowance.take(now), None))


def test_calls_begin_in_the_order_they_came() -> None:
    allowance: Allowance[int] = Allowance()
    assert allowance.wait(0) is None
    for number in range(3):
        allowance.offer(number)
    assert taken(allowance, 0) == [0, 1, 2]


def test_calls_in_progress_and_queued_calls_are_limited() -> None:
    allowance: Allowance[int] = Allowance()
    for number in range(WAITING):
        assert not allowance.full
        allowance.offer(number)
    assert allowance.full
    assert len(taken(allowance, 0)) == AT_ONCE
    assert allowance.wait(0) is None, "only the end of a call allows another"
    allowance.ended()
    assert len(taken(allowance, 0)) == 1


def test_the_password_prompts_of_one_user_leave_room_for_others() -> None:
    assert AT_ONCE < MOST_CALLS


@given(st.lists(st.floats(0, 0.2), max_size=400))
def test_no_pattern_of_calls_exceeds_the_rate(gaps: list[float]) -> None:
    allowance: Allowance[int] = Allowance()
    now, begun = 0.0, 0
    for gap in gaps:
        now += gap
        allowance.offer(1)
        for _ in taken(allowance, now):
            begun += 1
            allowance.ended()
    assert begun <= BURST + RATE * now + 1


def test_wait_returns_when_the_next_call_may_begin() -> None:
    allowance: Allowance[int] = Allowance()
    now = 10.0
    for _ in range(int(BURST)):
        allowance.offer(0)
        assert allowance.take(now) is not None
        allowance.ended()
    allowance.offer(1)
    assert allowance.take(now) is None
    wait = allowance.wait(now)
    assert wait is not None
    assert 0 < wait <= 1 / RATE
    assert allowance.take(now + wait + 1e-9) == 1


def test_error_replies_are_limited() -> None:
    allowance: Allowance[int] = Allowance()
    assert sum(allowance.may_refuse(5.0) for _ in range(10_000)) == REFUSALS


def test_a_bucket_gains_nothing_while_the_clock_stands_still() -> None:
    bucket = Bucket(10, 2)
    assert [bucket.take(3.0) for _ in range(4)] == [True, True, False, False]
    assert bucket.take(2.0) is False


def test_a_long_call_costs_several_tokens() -> None:
    allowance: Allowance[int] = Allowance()
    for number in range(10):
        allowance.offer(number, 17.0)
    assert taken(allowance, 100.0) == [0, 1]
    wait = allowance.wait(100.0)
    assert wait is not None
    assert taken(allowance, 100.0 + wait + 1e-9) == [2]
