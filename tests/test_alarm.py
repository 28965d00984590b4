"""Alarm: the earliest time wins, and nothing rings after it was closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.alarm import Alarm, until_next


class Loop:
    """The part of an event loop that an alarm uses, with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.time <= self.now]
        self.timers = [timer for timer in self.timers if timer.time > self.now]
        for timer in due:
            if not timer.cancelled:
                timer.callback()


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.time, self.callback, self.cancelled = when, callback, False

    def when(self) -> float:
        return self.time

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: made)
    return made


@pytest.mark.parametrize("delays", [(5.0, 2.0, 9.0), (2.0, 5.0), (5.0, 2.0)])
def test_the_earliest_time_wins_and_rings_once(loop: Loop, delays: tuple[float, ...]) -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(loop.now))
    for delay in delays:
        alarm.set(delay)
    loop.advance(1.9)
    assert rung == []
    loop.advance(0.1)
    assert rung == [102.0]
    loop.advance(100.0)
    assert rung == [102.0]


def test_it_can_be_set_again_while_it_rings(loop: Loop) -> None:
    rung: list[float] = []

    def ring() -> None:
        rung.append(loop.now)
        alarm.set(3.0)

    alarm = Alarm(ring)
    alarm.set(-1.0)
    loop.advance(0.0)
    loop.advance(3.0)
    assert rung == [100.0, 103.0]


def test_a_cleared_alarm_can_be_set_later(loop: Loop) -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(loop.now))
    alarm.set(1.0)
    alarm.clear()
    alarm.set(4.0)
    loop.advance(3.9)
    assert rung == []
    loop.advance(0.1)
    assert rung == [104.0]


def test_a_closed_alarm_never_rings(loop: Loop) -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(loop.now))
    alarm.set(1.0)
    alarm.close()
    alarm.set(0.0)
    loop.advance(10.0)
    assert rung == []


@given(period=st.floats(0.5, 3600.0), now=st.floats(0.0, 1e7))
def test_the_next_multiple_is_within_a_period_and_the_same_for_all(period: float, now: float) -> None:
    wait = until_next(period, now)
    assert 0.0 < wait <= period
    assert (now + wait) / period == pytest.approx(round((now + wait) / period), abs=1e-6 * max(1.0, now / period))
    assert until_next(0.0, now) == 0.0
