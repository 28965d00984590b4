"""What stands by and when it goes: the decisions, and the shell around them with systemd and the kernel played."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import SystemdError
from deployd.instances.freezer import Freezer, patient
from deployd.instances.standby import Standby
from deployd.model.action import Action, Freeze, Stop, Thaw, Unpin
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.instance import Instance, State
from deployd.model.pace import Memory, Pace
from deployd.model.rollout import Rollout
from deployd.plan.goal import Goal
from deployd.plan.standby import NEVER, Resting, leaving, refusal, until
from deployd.state.pins import Pins, StandbyRecord
from deployd.systemd import memory
from deployd.systemd.memory import Pressure
from tests.plan.worlds import app

MIB = 2**20
HALF = Memory(50, percent=True)


def resting(number: int, since: float = 0.0, held: int | None = 10 * MIB) -> Resting:
    return Resting(number, 4, since, held)


def went(
    *items: Resting, lasts: float = 600.0, now: float = 100.0, available: int | None = 1000 * MIB, **more: Any
) -> Any:
    gone = leaving(
        items, lasts, now, available=available, limit=more.get("limit", HALF), short=more.get("short", False)
    )
    return [item.number for item in gone]


# The decisions.


def test_each_goes_when_its_time_is_over() -> None:
    assert went(resting(1, 0.0), resting(2, 50.0), now=600.0) == [1]
    assert until((resting(1, 20.0), resting(2, 10.0)), 600.0) == 610.0
    assert until((), 600.0) is None
    (gone,) = leaving((resting(1),), 600.0, 600.0, available=None, limit=HALF, short=False)
    assert gone.reason == "its time in standby (600 s) is over"


def test_switched_off_all_go_at_once() -> None:
    assert went(resting(1, 99.9), resting(2, 50.0), lasts=0.0) == [1, 2]


def test_the_last_go_first_until_the_rest_is_within_its_share() -> None:
    many = [resting(number, held=100 * MIB) for number in (3, 1, 2)]
    assert went(*many, available=600 * MIB) == []
    assert went(*many, available=599 * MIB) == [3]
    assert went(*many, available=100 * MIB) == [3, 2, 1]
    assert went(*many, limit=Memory(200 * MIB), available=10**12) == [3]


def test_under_pressure_all_go() -> None:
    assert went(resting(1), resting(2), short=True) == [1, 2]


def test_what_the_kernel_does_not_tell_is_no_reason_to_stop() -> None:
    assert went(resting(1, held=None), available=1) == []
    assert went(resting(1), available=None) == []


@given(
    st.lists(st.builds(resting, st.integers(1, 99), st.floats(0, 1000), st.none() | st.integers(0, 2**40)), max_size=9),
    st.floats(0, 1000),
    st.none() | st.integers(0, 2**42),
    st.builds(Memory, st.integers(0, 100), st.just(True)) | st.builds(Memory, st.integers(0, 2**42)),
    st.booleans(),
)
def test_what_is_left_is_in_time_and_in_its_share(
    items: list[Resting], lasts: float, available: int | None, limit: Memory, short: bool
) -> None:
    items = list({item.number: item for item in items}.values())
    gone = {item.number for item in leaving(items, lasts, 1000.0, available=available, limit=limit, short=short)}
    left = [item for item in items if item.number not in gone]
    assert gone <= {item.number for item in items}
    assert all(item.since + lasts > 1000.0 for item in left)
    assert not (short and left)
    if available is not None:
        assert sum(item.memory or 0 for item in left) <= limit.of(available)


def test_who_may_stand_by() -> None:
    def why(
        held: int | None = 100 * MIB, *others: Resting, available: int | None = 1000 * MIB, watchdog: int = 0
    ) -> str:
        return refusal(held, others, available=available, limit=HALF, watchdog=watchdog)

    assert why() == why(watchdog=NEVER) == ""
    assert "WatchdogSec=" in why(watchdog=30_000_000)
    assert why(500 * MIB) == ""
    assert why(500 * MIB, resting(1, held=1 * MIB)) == (
        "501 MiB in standby would exceed its share (50%: 500 MiB) of memory"
    )
    assert "memory usage is unknown" in why(None)
    assert "available memory is unknown" in why(available=None)


# Memory.


def test_memory_is_read_from_the_cgroup_or_from_its_processes(tmp_path: Path) -> None:
    proc, v1, v2 = tmp_path / "proc", tmp_path / "hybrid", tmp_path / "unified"
    group = "/system.slice/a b.service"
    for directory in (v1, v2 / group.lstrip("/") / "below", proc / "11", proc / "12"):
        directory.mkdir(parents=True)
    (v2 / group.lstrip("/") / "cgroup.procs").write_text("11\n")
    (v2 / group.lstrip("/") / "below/cgroup.procs").write_text("12\n13\n")
    (proc / "11/statm").write_text("900 100 1 1 0 1 0\n")
    (proc / "12/statm").write_text("900 50 1 1 0 1 0\n")
    found = memory.of_cgroup(group, (v1, v2), proc)
    assert found is not None
    assert found % 150 == 0
    assert found // 150 in (4096, 16384, 65536)
    (v2 / group.lstrip("/") / "memory.current").write_text("12345\n")
    assert memory.of_cgroup(group, (v1, v2), proc) == 12345
    assert memory.of_cgroup("/gone", (v1, v2), proc) is None
    assert memory.of_cgroup("", (v1, v2), proc) is None


def test_available_memory(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    assert memory.available(file) is None
    file.write_text("MemTotal:  100 kB\nMemAvailable:      64 kB\n")
    assert memory.available(file) == 65536
    file.write_text("MemAvailable:\n")
    assert memory.available(file) is None
    assert (memory.available() or 1) > 0


class Trigger:
    """What has POLLPRI when we want it to: a TCP connection with an urgent byte in it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.near = socket.create_connection(server.getsockname())
            self.far, _ = server.accept()

    def __call__(self) -> int:
        return self.near.detach()

    def fire(self) -> None:
        self.far.send(b"!", socket.MSG_OOB)

    def close(self) -> None:
        self.near.close()
        self.far.close()


def test_pressure_is_told_through_the_loop() -> None:
    async def story() -> None:
        trigger, told = Trigger(), asyncio.Event()
        pressure = Pressure(told.set, trigger)
        pressure.open()
        pressure.open()
        trigger.fire()
        await asyncio.wait_for(told.wait(), 10)
        pressure.close()
        pressure.close()
        trigger.close()

    asyncio.run(story())


def test_a_kernel_without_pressure_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Pressure(lambda: None, lambda: memory.trigger(tmp_path / "none")).open()


# The shell.

NOW = Timestamp(1000.0, 5000.0, "boot")
GROUP = "/system.slice/shop.service"


class Systemd:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.watchdog = 0
        self.refuses = False
        self.stopping = True

    async def freeze(self, unit: str) -> None:
        self.asked.append(f"freeze {unit}")
        if self.refuses:
            raise SystemdError("systemd refused KillUnit: no such process")

    async def thaw(self, unit: str) -> None:
        self.asked.append(f"thaw {unit}")
        if self.refuses:
            raise SystemdError("systemd refused KillUnit: no such process")

    async def is_stopping(self) -> bool:
        return self.stopping

    async def read(self, _unit: str, _interface: str, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: {"WatchdogUSec": self.watchdog, "ControlGroup": GROUP}[name] for name in names}


class Silent(Pressure):
    """The kernel says when memory is short, and does not say it."""

    refused = False
    is_open = False

    def open(self) -> None:
        if self.refused:
            raise PermissionError(1, "Operation not permitted")
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class Stage:
    """Instances 1 and 2 of generation 4 replaced, 3 of generation 5 serving."""

    def __init__(self, directory: Path) -> None:
        self.pins = Pins(directory)
        for number, generation in ((1, 4), (2, 4), (3, 5)):
            self.pins.write_generation("shop", generation, {"run": ("", 0o755)}, f"/srv/{generation}")
            self.pins.pin("shop", number, generation)
        self.systemd = Systemd()
        self.settings = app(pace=Pace(standby=600.0))
        self.acts: list[Action] = []
        self.busy: set[int] = set()
        self.strayed: set[int] = set()
        self.up = True
        self.wakes = asyncio.Event()
        self.available: int | None = 1000 * MIB
        self.back()

    def back(self) -> None:
        """The daemon, afresh."""
        router = SimpleNamespace(backend=SimpleNamespace(connected=lambda _: self.strayed))
        self.freezer = Freezer("shop", self.systemd, self.pins, router)  # type: ignore[arg-type]
        self.standby = Standby(
            "shop",
            self.pins,
            self.freezer,
            self,
            up=lambda: self.up,
            wake=self.wakes.set,
            pressure=Silent,
            available=lambda: self.available,
        )

    def act(self, action: Action, settings: App) -> None:
        assert settings is self.settings
        self.acts.append(action)

    def working(self, number: int) -> bool:
        return number in self.busy

    async def freeze(self, *numbers: int) -> list[str]:
        return [await self.freezer.freeze(Freeze(number, 4), self.settings, 0) for number in numbers]

    async def look(self, now: float = NOW.monotonic, busy: bool = False, **states: State) -> list[Action]:
        """What it has done, with instance 1 as `one` and 2 as `two` says."""
        told = {1: states.get("one", State.STANDBY), 2: states.get("two", State.STANDBY), 3: State.READY}
        aside = self.pins.standby("shop")
        seen = [Instance(n, 4 if n in aside else None, s) for n, s in told.items()]
        moment = Timestamp(now, NOW.wall + now - NOW.monotonic, "boot")
        self.acts = []
        await self.standby.look(seen, moment, self.settings, busy=busy, wanted=frozenset({5}))
        return self.acts


Story = Callable[[Stage], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    monkeypatch.setattr("deployd.systemd.memory.of_cgroup", lambda group: 100 * MIB if group == GROUP else None)
    monkeypatch.setattr("deployd.systemd.memory.available", lambda: 1000 * MIB)
    monkeypatch.setattr(Timestamp, "now", lambda: NOW)

    def run(story: Story) -> None:
        async def whole() -> None:
            stage = Stage(tmp_path)
            try:
                await story(stage)
            finally:
                stage.standby.stop()

        asyncio.run(whole())

    return run


def test_the_record_comes_before_the_freeze_and_goes_after_the_thaw(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        assert await stage.freeze(1, 2) == ["", ""]
        assert stage.systemd.asked == ["freeze shop@1.service", "freeze shop@2.service"]
        assert stage.pins.standby("shop") == {1: StandbyRecord(4, 1000.0), 2: StandbyRecord(4, 1000.0)}
        assert stage.pins.read("shop") == {3: 5}
        await stage.freezer.thaw(Thaw(1, 4))
        assert stage.systemd.asked[2:] == ["thaw shop@1.service"]
        assert stage.pins.read("shop") == {1: 4, 3: 5}

    play(story)


def test_a_connection_that_strayed_to_one_in_standby_is_answered(play: Callable[[Story], None]) -> None:
    """The daemon was stopped and started: while its maps are made anew the kernel deals connections out to anybody."""

    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.back()
        stage.strayed = {2}
        stage.systemd.asked.clear()
        assert await stage.look() == []
        assert stage.systemd.asked == ["freeze shop@1.service", "thaw shop@2.service"]
        await asyncio.wait_for(stage.wakes.wait(), 5.0)
        assert await stage.look() == []
        assert len(stage.systemd.asked) == 2
        stage.strayed.clear()
        assert await stage.look() == []
        assert stage.systemd.asked[2:] == ["freeze shop@2.service"]
        assert await stage.look() == []
        assert len(stage.systemd.asked) == 3

    play(story)


def test_one_that_is_woken_while_others_are_looked_at_is_not_frozen_again(play: Callable[[Story], None]) -> None:
    """A daemon that has just come back freezes what it finds recorded, and the first request may be a rollback."""

    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.back()
        stage.systemd.asked.clear()
        read = stage.freezer.resting

        async def resting(numbers: frozenset[int], now: Timestamp) -> tuple[Resting, ...]:
            found = await read(numbers, now)
            await stage.freezer.thaw(Thaw(1, 4))
            return found

        stage.freezer.resting = resting  # type: ignore[method-assign]
        await stage.look()
        assert stage.systemd.asked == ["thaw shop@1.service", "freeze shop@2.service"]

    play(story)


def test_what_cannot_be_woken_stays_recorded(play: Callable[[Story], None]) -> None:
    """Pinned and asleep it would pass for one that serves."""

    async def story(stage: Stage) -> None:
        await stage.freeze(1)
        stage.systemd.refuses = True
        with pytest.raises(SystemdError):
            await stage.freezer.thaw(Thaw(1, 4))
        assert set(stage.pins.standby("shop")) == {1}

    play(story)


def test_who_may_not_stand_by_is_left_as_it_is(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        stage.systemd.watchdog = 2_000_000
        (why,) = await stage.freeze(1)
        assert "WatchdogSec=" in why
        assert not stage.systemd.asked
        assert stage.pins.read("shop") == {1: 4, 2: 4, 3: 5}
        stage.systemd.watchdog, stage.systemd.refuses = 0, True
        assert await stage.freeze(1) == ["systemd refused KillUnit: no such process"]

    play(story)


def test_whoever_has_connections_is_not_frozen(play: Callable[[Story], None]) -> None:
    """Somebody waits at the other end."""

    async def story(stage: Stage) -> None:
        told = {left: await stage.freezer.freeze(Freeze(1, 4), stage.settings, left) for left in (None, 1, 2)}
        assert told == {
            None: "nobody knows whether it still has connections",
            1: "it still has a connection",
            2: "it still has 2 connections",
        }
        assert not stage.systemd.asked
        assert patient(stage.settings).drain.close_after > 0

    play(story)


def test_the_share_is_counted_over_all(play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.systemd.memory.available", lambda: 300 * MIB)

    async def story(stage: Stage) -> None:
        first, second = await stage.freeze(1, 2)
        assert first == ""
        assert second == "200 MiB in standby would exceed its share (50%: 150 MiB) of memory"

    # `available` was patched by play's fixture before: ours is the later one.
    play(story)


def test_they_go_when_their_time_is_over(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        assert await stage.look() == []
        told = stage.standby.status(NOW)
        assert told is not None
        assert (told["generation"], told["instances"]) == (4, [1, 2])
        assert told["until"].startswith("1970-01-01T")
        assert await stage.look(1599.9) == []
        assert await stage.look(1600.0, busy=True) == [], "a rollout's planner sees to it"
        reason = "its time in standby (600 s) is over"
        assert await stage.look(1600.0) == [Stop(1, 4, reason), Stop(2, 4, reason)]
        stage.busy = {1, 2}
        assert await stage.look(1600.0, one=State.STOPPING, two=State.STOPPING) == []
        for number in (1, 2):
            stage.pins.unpin("shop", number)
        stage.busy = set()
        assert await stage.look(1601.0, one=State.INACTIVE, two=State.INACTIVE) == []
        assert stage.standby.status(NOW) is None

    play(story)


def test_the_loop_is_woken_when_the_time_is_over(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1)
        await stage.look(1599.99, two=State.READY)
        await asyncio.wait_for(stage.wakes.wait(), 10)

    play(story)


def test_a_daemon_that_returns_counts_on_and_freezes_once_more(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1)
        stage.systemd.asked.clear()
        stage.back()
        for _ in range(2):
            assert await stage.look(two=State.READY) == []
        assert stage.systemd.asked == ["freeze shop@1.service"], "once: somebody may thaw it by hand"
        assert len(await stage.look(1600.0, two=State.READY)) == 1

    play(story)


def test_under_pressure_they_go_at_once_but_for_those_a_rollout_wants(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        await stage.look()
        stage.standby._fired()
        assert stage.wakes.is_set()
        gone = await stage.look(busy=True)
        assert gone == [Stop(1, 4, "memory is running short"), Stop(2, 4, "memory is running short")]
        assert await stage.look() == [], "once"
        stage.standby._fired()
        stage.acts = []
        seen = [Instance(1, 4, State.STANDBY), Instance(2, 4, State.STANDBY)]
        await stage.standby.look(seen, NOW, stage.settings, busy=True, wanted=frozenset({4}))
        assert stage.acts == []

    play(story)


def test_the_loop_gives_what_it_has(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        seen = [Instance(1, 4, State.STANDBY), Instance(2, 4, State.STANDBY)]
        rollout = Rollout("shop", 5, 6)
        stage.standby._fired()
        for goal in (Goal(4, 1), Goal(6, 1, same=frozenset({4}))):
            await stage.standby.attend(seen, stage.settings, rollout, goal)
        await stage.standby.attend(seen, None, None, None)
        assert stage.acts == []
        stage.available = 0
        await stage.standby.attend(seen, stage.settings, rollout, None)
        assert stage.acts == [], "the planner sees to it"
        await stage.standby.attend(seen, stage.settings, None, None)
        assert [action.number for action in stage.acts] == [2, 1]

    play(story)


def test_when_little_is_available_the_last_goes(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.available = 399 * MIB
        assert [action.number for action in await stage.look()] == [2]

    play(story)


def test_a_kernel_that_tells_nothing_is_asked_now_and_then(
    play: Callable[[Story], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Silent, "refused", True)
    monkeypatch.setattr("deployd.instances.standby.EVERY", 0.01)
    caplog.set_level(logging.INFO)

    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        await stage.look()
        await asyncio.wait_for(stage.wakes.wait(), 10)
        await stage.look()

    play(story)
    told = [record.message for record in caplog.records if "the kernel does not tell" in record.message]
    assert len(told) == 1, "once"
    assert "Operation not permitted" in told[0]


def test_an_app_that_was_stopped_keeps_nothing(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.up = False
        assert await stage.look() == [Stop(1, 4, "the app was stopped"), Stop(2, 4, "the app was stopped")]
        stage.systemd.asked.clear()
        await stage.look(one=State.STOPPING, two=State.STOPPING)
        assert stage.systemd.asked == ["thaw shop@1.service", "thaw shop@2.service"], "systemd wakes no children"

    play(story)


def test_what_ended_in_standby_is_cleared_away(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        assert await stage.look(one=State.INACTIVE, two=State.FAILED) == [
            Unpin(1),
            Stop(2, None, "it ended in standby"),
        ]

    play(story)


def test_before_a_stop_it_is_woken_and_before_the_machine_goes_down_all_are(play: Callable[[Story], None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.systemd.asked.clear()
        await stage.freezer.wake(3)
        assert not stage.systemd.asked
        stage.systemd.refuses = True
        stage.systemd.stopping = False
        await stage.freezer.release()
        assert not stage.systemd.asked, "another daemon will come"
        stage.systemd.stopping = True
        await stage.freezer.release()
        assert stage.systemd.asked == ["thaw shop@1.service", "thaw shop@2.service"]

    play(story)
