"""Crash loops of instances that live and die in any way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.crashes import Crashes
from deployd.model.instance import Instance, State
from deployd.plan.backoff import Step, judge, restarts
from tests.instances.crashing_unit import PATIENCE, Unit

LIVES = st.lists(st.floats(0.0, 200.0), min_size=1, max_size=60)


@settings(max_examples=200)
@given(LIVES, st.data())
def test_crash_loops_are_slowed_down_and_always_retried(lives: list[float], data: st.DataObject) -> None:
    """Whatever crashes and missed observations: after `limit` crashes without `steady` seconds of being ready there is
    a stop, the delays only grow until the crashes are forgiven, and deployd starts again what it stopped. Each restart
    counts, also when the crashes are forgiven."""
    unit = Unit()
    row = 0
    for lasts in lives:
        if unit.item.state is State.FAILED:
            unit.now += 0.5
            unit.restart()
        if data.draw(st.booleans()):
            unit.judge_now()
        unit.ready()
        unit.judge_now()
        if unit.wake_at is not None and unit.wake_at <= unit.now + lasts:
            began, unit.now = unit.now, unit.wake_at
            unit.judge_now()
            assert unit.count == 0
            unit.now = began
            row = 0
        unit.now += lasts
        unit.crash()
        unit.judge_now()
        row += 1
        assert unit.count <= row
        assert restarts(unit.crashes, unit.item) == unit.restarts
        if unit.item.state is State.INACTIVE:
            assert row >= PATIENCE.limit
            assert unit.wake_at == pytest.approx(unit.now + PATIENCE.delay(unit.count))
            assert unit.judge_now().step is Step.NOTHING
            unit.now = unit.wake_at or unit.now
            unit.judge_now()
            assert unit.starts[-1] == unit.now
        else:
            assert unit.count < PATIENCE.limit


ITEMS = st.builds(
    Instance,
    number=st.just(3),
    generation=st.sampled_from([7, 8]),
    state=st.sampled_from(State),
    ready_since=st.floats(900.0, 1100.0),
    restarts=st.integers(0, 9),
    restarting=st.booleans(),
    ended=st.none() | st.booleans(),
    invocation_id=st.sampled_from(["", "1", "2", "3"]),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(ITEMS, st.floats(0.0, 100.0), st.booleans()), max_size=30))
def test_judge_is_total(world: list[tuple[Instance, float, bool]]) -> None:
    """A ready instance is never stopped, and one that deployd did not stop is never started."""
    crashes: Crashes | None = None
    now = 1000.0
    for item, later, tried in world:
        now += later
        judged = judge(crashes, item, now, PATIENCE, tried=tried)
        if judged.step is Step.STOP:
            assert item.state in (State.FAILED, State.STARTING)
            assert judged.crashes.retry_at is not None
        if judged.step is Step.START:
            assert crashes is not None
            assert crashes.retry_at is not None
            assert item.state in (State.INACTIVE, State.FAILED)
        if judged.wake_at is not None:
            assert judged.wake_at > now
        assert len(judged.crashes.times) <= PATIENCE.limit
        crashes = judged.crashes


@given(st.integers(0, 100_000))
def test_delays_are_bounded(crashes: int) -> None:
    assert PATIENCE.delay(crashes) <= PATIENCE.delay(crashes + 1) <= PATIENCE.longest
