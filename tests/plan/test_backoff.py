"""Crash loops: which instances are kept stopped, for how long, and which are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployd.model.crashes import Crashes
from deployd.model.instance import State
from deployd.plan.backoff import GRACE, Step, forgiven, restarts
from tests.instances.crashing_unit import PATIENCE, Unit, looping


def test_the_fifth_crash_is_followed_by_a_stop() -> None:
    unit = Unit()
    unit.judge_now()
    for crashes in range(1, 5):
        unit.life(0.2)
        assert (unit.count, unit.stops) == (crashes, [])
    unit.life(0.2)
    assert unit.count == 5
    assert unit.stops == [unit.now]
    assert unit.wake_at == unit.now + 1.0
    assert unit.crashes is not None
    assert unit.crashes.why == "exited with status 5 after it was ready"
    assert unit.crashes.last == unit.item.invocation_id


def test_a_crash_without_a_known_reason_keeps_the_reason_of_the_one_before() -> None:
    unit = Unit()
    unit.judge_now()
    unit.life(0.2)
    unit.now += 0.5
    unit.restart()
    unit.judge_now()
    unit.crash("failed before it was ready")
    unit.judge_now()
    assert unit.count == 2
    assert unit.crashes is not None
    assert unit.crashes.why == "exited with status 5 after it was ready"


def test_the_delay_doubles_up_to_its_maximum() -> None:
    unit = Unit()
    delays: list[float] = []
    while len(delays) < 12:
        unit.life(0.2)
        if unit.item.state is State.INACTIVE:
            assert unit.wake_at is not None
            delays.append(unit.wake_at - unit.now)
            unit.now = unit.wake_at - 0.01
            assert unit.judge_now().step is Step.NOTHING
            unit.now += 0.02
            assert unit.judge_now().step is Step.START
    assert delays == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300])


def test_staying_ready_forgives_all_crashes() -> None:
    unit = Unit()
    for _ in range(4):
        unit.life(0.2)
    unit.now += 0.5
    unit.restart()
    unit.judge_now()
    unit.ready()
    assert unit.judge_now().wake_at == unit.now + PATIENCE.steady
    unit.now += PATIENCE.steady
    assert unit.judge_now().wake_at is None
    assert unit.count == 0
    unit.crash()
    unit.judge_now()
    assert (unit.count, unit.stops) == (1, [])


def test_crashes_far_apart_do_not_add_up() -> None:
    unit = Unit()
    for _ in range(20):
        unit.life(0.2)
        unit.now += PATIENCE.window  # a slow boot
    assert unit.count == 1
    assert unit.stops == []


def test_an_instance_stopped_by_request_stays_down() -> None:
    unit = Unit()
    for _ in range(4):
        unit.life(0.2)
    unit.item = replace(unit.item, state=State.INACTIVE, restarts=0)
    for _ in range(5):
        unit.now += 1000.0
        assert unit.judge_now().step is Step.NOTHING


def test_an_instance_that_ends_without_a_request_is_started_again() -> None:
    unit = Unit()
    unit.judge_now()
    for ends in range(1, 9):
        unit.end()
        assert unit.judge_now().step is Step.NOTHING
        assert unit.count == ends
        delay = max(GRACE, PATIENCE.delay(ends))
        assert unit.wake_at == pytest.approx(unit.now + delay), "systemd may be about to start it"
        unit.now += delay
        assert unit.judge_now().step is Step.START
        unit.judge_now()
        unit.ready()
        unit.judge_now()
    assert len(unit.starts) == 8
    assert not unit.stops
    assert unit.crashes is not None
    assert unit.crashes.why == "exited with status 0 after it was ready"


def test_a_server_that_ends_itself_to_be_started_afresh_does_not_crash() -> None:
    unit = Unit()
    for lasts, counts in ((3.0, 0), (0.2, 3)):
        for _ in range(3):
            unit.judge_now()
            unit.ready()
            unit.judge_now()
            unit.crash("exited with status 0 after it was ready")
            unit.item = replace(unit.item, exit_status=0, ran=lasts, was_ready=True)
            unit.judge_now()
            unit.restart()
        assert unit.count == counts
    unit = Unit()
    for _ in range(20):
        unit.judge_now()
        unit.end()
        unit.item = replace(unit.item, ran=3.0, was_ready=True)
        unit.judge_now()
        unit.now += GRACE
        assert unit.judge_now().step is Step.START
        unit.judge_now()
        unit.ready()
    assert unit.count == 0


def test_an_instance_that_ended_while_no_daemon_ran_is_started_again() -> None:
    for state in (State.INACTIVE, State.FAILED):
        unit = Unit()
        unit.end()
        unit.item = replace(unit.item, state=state)
        unit.judge_now()
        unit.now += GRACE
        assert unit.judge_now().step is Step.START
        unit = Unit(crashes=forgiven(unit.item))
        unit.end()
        unit.item = replace(unit.item, state=state)
        unit.judge_now()
        unit.now += GRACE
        assert unit.judge_now().step is Step.START


def test_an_automatic_restart_after_the_end_is_no_second_crash() -> None:
    unit = Unit()
    unit.judge_now()
    unit.end()
    unit.judge_now()
    unit.item = replace(unit.item, state=State.FAILED, restarting=True, ended=None)
    assert unit.judge_now().step is Step.NOTHING
    unit.restart()
    unit.judge_now()
    assert (unit.count, unit.starts, unit.stops) == (1, [], [])


def test_an_instance_that_fails_when_stopped_by_request_stays_down() -> None:
    unit = Unit()
    for _ in range(4):
        unit.life(0.2)
    unit.now += 0.5
    unit.restart()
    unit.ready()
    unit.judge_now()
    unit.item = replace(unit.item, state=State.FAILED, detail="exited with status 143 after it was ready")
    unit.check_left_alone()
    assert unit.count == 4


def test_an_instance_stopped_by_request_during_a_retry_stays_down() -> None:
    unit = looping()
    unit.judge_now()
    unit.item = replace(unit.item, state=State.INACTIVE)
    for _ in range(5):
        unit.now += 1000.0
        assert unit.judge_now().step is not Step.START
    assert unit.crashes is not None
    assert unit.crashes.retry_at is None


def test_an_instance_stopped_by_request_before_it_is_ready_stays_down() -> None:
    unit = looping()
    unit.item = replace(unit.item, state=State.FAILED, detail="was not started: its start job ended with canceled")
    unit.check_left_alone()
    assert unit.count == 5


def test_a_retry_refused_by_systemd_counts() -> None:
    unit = looping()
    unit.item = replace(
        unit.item, state=State.FAILED, invocation_id=str(unit.invocations - 1), detail="was not started: masked"
    )
    judged = unit.judge_now()
    assert judged.step is Step.STOP
    assert unit.count == 6
    assert judged.wake_at == unit.now + 2.0


def test_a_retry_already_restarted_by_systemd_counts() -> None:
    unit = looping()
    unit.begin(restarts=2)
    assert unit.judge_now().step is Step.STOP
    assert unit.count == 7


def test_a_stop_missed_by_a_killed_daemon_is_made_up_for() -> None:
    unit = Unit()
    while not unit.stops:
        unit.life(0.2)
    unit.item = replace(unit.item, state=State.FAILED)  # the stop was never ordered
    assert unit.judge_now().step is Step.STOP
    unit.now += 10.0
    unit.item = replace(unit.item, state=State.FAILED)
    assert unit.judge_now().step is Step.START


def test_crashes_between_observations_are_counted() -> None:
    unit = Unit()
    unit.life(0.2)
    # The daemon is not running.
    unit.begin(restarts=6)
    unit.judge_now()
    assert unit.count == 6
    assert len(unit.stops) == 1


def test_crashes_before_the_first_observation_are_not_counted() -> None:
    unit = Unit()
    unit.begin(restarts=300)
    unit.ready()
    unit.judge_now()
    assert unit.count == 0


def test_a_ready_instance_is_not_stopped_for_earlier_crashes() -> None:
    unit = Unit()
    unit.life(0.2)
    unit.begin(restarts=10)
    unit.ready()
    assert unit.judge_now().step is Step.NOTHING
    assert unit.count == 10
    unit.crash()
    assert unit.judge_now().step is Step.STOP


def test_a_start_by_request_is_no_crash() -> None:
    unit = Unit()
    unit.life(0.2)
    unit.now += 0.5
    unit.begin(restarts=0)
    unit.judge_now()
    assert unit.count == 1


def test_partial_changes_of_properties_are_not_counted_twice() -> None:
    """systemd reports NRestarts= before the matching state, and the unit is inactive for an instant in between."""
    unit = Unit()
    for crashes in range(1, 5):
        unit.crash()
        unit.judge_now()
        unit.item = replace(unit.item, restarts=unit.item.restarts + 1)
        unit.judge_now()
        restarts = unit.item.restarts
        unit.item = replace(unit.item, state=State.STARTING, restarts=0)
        unit.judge_now()
        unit.begin(restarts)
        unit.judge_now()
        assert unit.count == crashes


def test_a_new_pin_makes_another_instance() -> None:
    unit = Unit()
    for _ in range(4):
        unit.life(0.2)
    unit.item = replace(unit.item, generation=8)
    unit.now += 0.5
    unit.restart()
    unit.judge_now()
    assert unit.count == 0


def test_forgiven_crashes_are_not_counted_again() -> None:
    unit = Unit()
    unit.crash()
    unit.crashes = forgiven(unit.item)
    unit.judge_now()
    assert unit.count == 0
    unit.now += 0.5
    unit.restart()
    unit.judge_now()
    assert unit.count == 0


def test_restarts_count_from_the_generation_on() -> None:
    unit = looping()
    unit.judge_now()
    counted = unit.restarts
    assert counted == PATIENCE.limit
    assert restarts(unit.crashes, unit.item) == counted, "systemd has begun to count again"
    assert restarts(forgiven(unit.item, unit.crashes), unit.item) == counted
    following = replace(unit.item, generation=8)
    assert restarts(unit.crashes, following) == restarts(None, following) == 0
    assert restarts(forgiven(following, unit.crashes), following) == 0


def test_crashes_are_converted_to_json_and_back() -> None:
    unit = looping()
    assert unit.crashes is not None
    assert Crashes.from_json(unit.crashes.to_json()) == unit.crashes
