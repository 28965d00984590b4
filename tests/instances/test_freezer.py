"""The freezer: the order of records and signals, and which instances are stopped instead."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace

import pytest

from deployd.errors import StateError, SystemdError
from deployd.instances.freezer import NOTICE
from deployd.model.action import Freeze, Stop, Thaw
from deployd.model.app import Drain
from deployd.model.clock import Timestamp
from deployd.model.instance import State
from deployd.plan.idle_connections import Ending
from deployd.plan.standby import PATIENCE, Resting
from deployd.state.pins import StandbyRecord
from tests.instances.standby_stage import MIB, NOW, Play, Stage


def test_the_record_is_made_before_the_freeze_and_removed_after_the_thaw(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        assert await stage.freeze(1, 2) == ["", ""]
        assert stage.systemd.calls == ["freeze shop@1.service", "freeze shop@2.service"]
        assert stage.pins.standby("shop") == {1: StandbyRecord(4, 1000.0), 2: StandbyRecord(4, 1000.0)}
        assert stage.pins.read("shop") == {3: 5}
        await stage.freezer.thaw(Thaw(1, 4))
        assert stage.systemd.calls[2:] == ["thaw shop@1.service"]
        assert stage.pins.read("shop") == {1: 4, 3: 5}

    play(scenario)


def test_a_stray_connection_is_answered(play: Play) -> None:
    """While the kernel's maps are rebuilt after a restart of the daemon, connections go to any instance."""

    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.restart()
        stage.connections = {2: None}
        stage.systemd.calls.clear()
        assert await stage.update() == []
        assert stage.systemd.calls == ["freeze shop@1.service", "thaw shop@2.service"]
        await stage.wakes.wait()
        assert await stage.update() == []
        assert len(stage.systemd.calls) == 2
        stage.connections = {}
        assert await stage.update() == []
        assert stage.systemd.calls[2:] == ["freeze shop@2.service"]
        assert await stage.update() == []
        assert len(stage.systemd.calls) == 3

    play(scenario)


def test_an_instance_that_is_thawed_during_an_update_is_not_frozen_again(play: Play) -> None:
    """A restarted daemon freezes the instances that it finds recorded, and its first request may be a rollback."""

    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.restart()
        stage.systemd.calls.clear()
        read = stage.freezer.resting

        async def resting(numbers: frozenset[int], now: Timestamp) -> tuple[Resting, ...]:
            found = await read(numbers, now)
            await stage.freezer.thaw(Thaw(1, 4))
            return found

        stage.freezer.resting = resting  # type: ignore[method-assign]
        await stage.update()
        assert stage.systemd.calls == ["thaw shop@1.service", "freeze shop@2.service"]

    play(scenario)


def test_an_instance_that_cannot_be_thawed_stays_recorded(play: Play) -> None:
    """With a pin it would pass for one that serves, although it is frozen."""

    async def scenario(stage: Stage) -> None:
        await stage.freeze(1)
        stage.systemd.refuses = True
        with pytest.raises(SystemdError):
            await stage.freezer.thaw(Thaw(1, 4))
        assert set(stage.pins.standby("shop")) == {1}

    play(scenario)


def test_instances_that_are_thawed_together_wait_for_the_disk_together(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        waits: list[str] = []
        monkeypatch.setattr("os.fsync", lambda _descriptor: waits.append("fsync"))
        await asyncio.gather(*(stage.freezer.thaw(Thaw(number, 4)) for number in (1, 2)))
        assert stage.pins.read("shop") == {1: 4, 2: 4, 3: 5}
        assert stage.pins.standby("shop") == {}
        assert len(waits) == 2, "for pins and records"

    play(scenario)


def test_instances_that_are_thawed_together_and_cannot_be_pinned_all_fail(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        shutil.rmtree(stage.pins.generation_dir("shop", 4))
        thaws = [stage.freezer.thaw(Thaw(number, 4)) for number in (1, 2)]
        errors = await asyncio.gather(*thaws, return_exceptions=True)
        assert [type(error) for error in errors] == [StateError, StateError]
        assert set(stage.pins.standby("shop")) == {1, 2}

    play(scenario)


def test_an_instance_that_may_not_enter_standby_is_left_unchanged(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        stage.systemd.watchdog = 2_000_000
        (reason,) = await stage.freeze(1)
        assert "WatchdogSec=" in reason
        assert not stage.systemd.calls
        assert stage.pins.read("shop") == {1: 4, 2: 4, 3: 5}
        stage.systemd.watchdog, stage.systemd.refuses = 0, True
        assert await stage.freeze(1) == ["systemd refused KillUnit: no such process"]

    play(scenario)


def test_an_instance_is_frozen_when_its_connections_have_ended(play: Play) -> None:
    """Until then its clients would wait for an answer. It is in standby from the beginning, so nothing waits for it."""

    async def scenario(stage: Stage) -> None:
        assert await stage.freezer.freeze(Freeze(1, 4), stage.settings, 3) == ""
        assert set(stage.pins.standby("shop")) == {1}
        stage.connections = {1: 3}
        assert await stage.update(two=State.READY) == []
        assert stage.systemd.calls == []
        await stage.wakes.wait()
        stage.connections = {}
        assert await stage.update(two=State.READY) == []
        assert stage.systemd.calls == ["freeze shop@1.service"]

    play(scenario)


def test_an_instance_whose_connections_are_unknown_is_not_put_in_standby(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        reason = await stage.freezer.freeze(Freeze(1, 4), stage.settings, None)
        assert reason == "the number of its connections is unknown"
        assert stage.pins.standby("shop") == {}

    play(scenario)


@pytest.mark.parametrize(("close_after", "lasts"), [(0.0, PATIENCE), (60.0, 60.0)])
def test_an_instance_whose_connections_last_is_stopped(play: Play, close_after: float, lasts: float) -> None:
    async def scenario(stage: Stage) -> None:
        stage.settings = replace(stage.settings, drain=Drain(close_after))
        await stage.freezer.freeze(Freeze(1, 4), stage.settings, 1)
        for stage.connections in ({1: 1}, {1: 2}):
            assert await stage.update(NOW.monotonic + lasts - 0.1, busy=True, two=State.READY) == []
        stop = Stop(1, 4, "it still has 2 connections")
        assert await stage.update(NOW.monotonic + lasts, busy=True, two=State.READY) == [stop]
        stage.connections = {1: None}
        assert await stage.update(NOW.monotonic + lasts, busy=True, two=State.READY) == [], "it may have none"
        assert not stage.systemd.calls

    play(scenario)


def test_idle_connections_are_closed_once(play: Play) -> None:
    """A server that does not notice that they have ended is stopped."""

    async def scenario(stage: Stage) -> None:
        await stage.freezer.freeze(Freeze(1, 4), stage.settings, 1)
        stage.connections, stage.ending, end = {1: 1}, Ending.WAIT, NOW.monotonic + PATIENCE
        assert await stage.update(end, two=State.READY) == []
        stage.ending = Ending.CLOSE
        assert await stage.update(end, two=State.READY) == []
        stage.ending = Ending.IN_USE
        assert await stage.update(end + NOTICE - 0.1, two=State.READY) == []
        assert await stage.update(end + NOTICE, two=State.READY) == [Stop(1, 4, "it still has 1 connection")]
        stage.connections = {}
        assert await stage.update(end + NOTICE, two=State.READY) == []
        assert stage.systemd.calls == ["freeze shop@1.service"]

    play(scenario)


def test_an_instance_that_cannot_be_frozen_later_is_stopped(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freezer.freeze(Freeze(1, 4), stage.settings, 1)
        stage.systemd.refuses = True
        (stop,) = await stage.update(two=State.READY)
        assert stop == Stop(1, 4, "systemd refused KillUnit: no such process")

    play(scenario)


def test_the_memory_limit_is_shared_by_all_instances(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.systemd.memory.available", lambda: 300 * MIB)  # after play did the same

    async def scenario(stage: Stage) -> None:
        first, second = await stage.freeze(1, 2)
        assert first == ""
        assert second == "200 MiB in standby would exceed its share (50%: 150 MiB) of memory"

    play(scenario)


def test_instances_are_thawed_before_a_stop_and_before_the_machine_goes_down(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.systemd.calls.clear()
        await stage.freezer.wake(3)
        assert not stage.systemd.calls
        stage.systemd.refuses = True
        stage.systemd.stopping = False
        await stage.freezer.release()
        assert not stage.systemd.calls, "only the daemon stops"
        stage.systemd.stopping = True
        await stage.freezer.release()
        assert stage.systemd.calls == ["thaw shop@1.service", "thaw shop@2.service"]

    play(scenario)
