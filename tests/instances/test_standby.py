"""Standby: when its instances are stopped, and what wakes the control loop for that."""

from __future__ import annotations

import logging

import pytest

from deployd.model.action import Stop, Unpin
from deployd.model.instance import Instance, State
from tests.instances.standby_stage import MIB, NOW, NoPressure, Play, Stage

BOTH = [Instance(1, 4, State.STANDBY), Instance(2, 4, State.STANDBY)]


def test_instances_are_stopped_at_their_time_limit(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        assert await stage.update() == []
        status = stage.standby.status(NOW)
        assert status is not None
        assert (status["generation"], status["instances"]) == (4, [1, 2])
        assert status["until"].startswith("1970-01-01T")
        assert await stage.update(1599.9) == []
        assert await stage.update(1600.0, busy=True) == [], "the planner of a rollout decides"
        reason = "its time in standby (600 s) is over"
        assert await stage.update(1600.0) == [Stop(1, 4, reason), Stop(2, 4, reason)]
        stage.busy = {1, 2}
        assert await stage.update(1600.0, one=State.STOPPING, two=State.STOPPING) == []
        for number in (1, 2):
            stage.pins.unpin("shop", number)
        stage.busy = set()
        assert await stage.update(1601.0, one=State.INACTIVE, two=State.INACTIVE) == []
        assert stage.standby.status(NOW) is None

    play(scenario)


def test_the_loop_is_woken_at_the_time_limit(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1)
        await stage.update(1599.99, two=State.READY)
        await stage.wakes.wait()

    play(scenario)


def test_a_restarted_daemon_keeps_the_time_limit_and_freezes_once_more(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1)
        stage.systemd.calls.clear()
        stage.restart()
        for _ in range(2):
            assert await stage.update(two=State.READY) == []
        assert stage.systemd.calls == ["freeze shop@1.service"], "once: an administrator may thaw it"
        assert len(await stage.update(1600.0, two=State.READY)) == 1

    play(scenario)


def test_memory_pressure_stops_all_but_those_that_a_rollout_wants(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        await stage.update()
        stage.fire_pressure()
        assert stage.wakes.is_set()
        reason = "memory is running short"
        assert await stage.update(busy=True) == [Stop(1, 4, reason), Stop(2, 4, reason)]
        assert await stage.update() == [], "once"
        stage.fire_pressure()
        stage.actions = []
        await stage.standby.update(BOTH, NOW, stage.settings, busy=True, wanted=frozenset({4}))
        assert stage.actions == []

    play(scenario)


def test_the_last_instance_is_stopped_when_little_memory_is_available(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.available = 399 * MIB
        assert await stage.update(busy=True) == [], "the planner of a rollout decides"
        (stop,) = await stage.update()
        assert isinstance(stop, Stop)
        assert stop.number == 2

    play(scenario)


def test_memory_is_polled_where_the_kernel_does_not_report_pressure(
    play: Play, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NoPressure, "refused", True)
    monkeypatch.setattr("deployd.instances.standby.EVERY", 0.01)
    caplog.set_level(logging.INFO)

    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        await stage.update()
        await stage.wakes.wait()
        await stage.update()

    play(scenario)
    logged = [record.message for record in caplog.records if "does not report memory pressure" in record.message]
    assert len(logged) == 1, "once"
    assert "Operation not permitted" in logged[0]


def test_a_stopped_app_has_no_standby(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.up = False
        assert await stage.update() == [Stop(1, 4, "the app was stopped"), Stop(2, 4, "the app was stopped")]
        stage.systemd.calls.clear()
        await stage.update(one=State.STOPPING, two=State.STOPPING)
        assert stage.systemd.calls == ["thaw shop@1.service", "thaw shop@2.service"], "systemd thaws no children"

    play(scenario)


def test_the_records_of_instances_that_ended_are_removed(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        assert await stage.update(one=State.INACTIVE, two=State.FAILED) == [
            Unpin(1),
            Stop(2, None, "it ended in standby"),
        ]

    play(scenario)
