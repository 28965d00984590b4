"""The crash loop: the order of records and stops, and what happens if a record cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.errors import StateError
from deployd.instances.actuator import Actuator
from deployd.instances.crash_loop import CrashLoop
from deployd.model.action import Action, Start, Stop
from deployd.model.clock import Timestamp
from deployd.model.crashes import Crash, Crashes
from deployd.model.event import EventName
from deployd.model.instance import Instance, State
from deployd.model.instances import Instances
from deployd.plan.backoff import GRACE, Patience
from deployd.systemd.notices import Account
from tests.state.four_rollouts import SETTINGS

BOOT = "boot"


@dataclass
class Memory:
    """The part of the history that a crash loop uses."""

    saved: dict[int, Crashes] = field(default_factory=dict)
    full: bool = False
    log: list[str] = field(default_factory=list)
    logged: list[Crash] = field(default_factory=list)

    def crashes(self, app: str, boot: str) -> dict[int, Crashes]:
        return dict(self.saved)

    def crashed(self, app: str, boot: str, news: dict[int, Crashes]) -> None:
        if self.full:
            raise StateError("the disk is full")
        self.log.append("saved")
        for number, crashes in news.items():
            self.saved.pop(number, None)
            if crashes.matters:
                self.saved[number] = crashes

    def log_crashes(self, app: str, boot: str, news: Iterable[Crash]) -> None:
        self.logged += news

    def settings(self, app: str, number: int) -> Any:
        return SETTINGS


class Stand:
    """A crash loop with a simulated actuator."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.actions: list[Action] = []
        self.events: list[dict[str, Any]] = []
        self.woken = asyncio.Event()
        self.changes = 0
        self.up = True
        self.closed = False
        self.now = 1000.0
        self.working: set[int] = set()
        self.requested: bool | None = None
        self.instances = create_autospec(Actuator, instance=True)
        self.instances.act.side_effect = self.act
        self.instances.is_busy.side_effect = self.working.__contains__
        self.crash_loop = CrashLoop(
            "demo",
            memory,  # type: ignore[arg-type]
            self.account,
            self.instances,
            Patience(),
            up=lambda: self.up,
            closed=lambda: self.closed,
            wake=self.woken.set,
            changed=self.changed,
            emit=self.emit,
        )

    def act(self, action: Action, settings: Any) -> None:
        self.memory.log.append(type(action).__name__)
        self.actions.append(action)

    async def account(self, invocation_id: str, unit: str, since: float | None = None) -> Account:
        return Account((f"last words of {invocation_id}",), stop_requested=self.requested)

    def changed(self) -> None:
        self.changes += 1

    def emit(self, event: EventName, fields: dict[str, Any]) -> None:
        self.events.append({"event": event, **fields})

    def update(self, *items: Instance, busy: bool = False) -> None:
        self.crash_loop.update(items, Timestamp(self.now, 1_700_000_000.0 + self.now, BOOT), busy=busy)

    def crash(self, times: int) -> None:
        """Have instance 1 crash so often, restarted by systemd in between."""
        for number in range(times):
            self.now += 0.5
            self.update(Instance(1, 7, State.READY, ready_since=self.now, restarts=number, invocation_id=f"i{number}"))
            self.update(failed(number))


def failed(number: int, restarts: int | None = None) -> Instance:
    return Instance(
        1,
        7,
        State.FAILED,
        restarts=number if restarts is None else restarts,
        restarting=True,
        invocation_id=f"i{number}",
        detail="was killed by SIGSEGV after it was ready",
    )


def down() -> Instance:
    return Instance(1, 7, State.INACTIVE, invocation_id="i4")


Test = Callable[[Stand], Coroutine[Any, Any, None]]


def run(test: Test, memory: Memory | None = None) -> None:
    async def work() -> None:
        stand = Stand(memory or Memory())
        await test(stand)
        stand.crash_loop.stop()

    asyncio.run(work())


def test_a_crash_loop_is_recorded_before_the_stop() -> None:
    async def test(stand: Stand) -> None:
        stand.crash(5)
        assert stand.actions == [Stop(1, 7, "crash-loop", keep=True)]
        assert stand.memory.log[-2:] == ["saved", "Stop"]
        assert stand.memory.saved[1].retry_at == stand.now + 1.0
        assert [item.invocation for item in stand.memory.logged] == ["i0", "i1", "i2", "i3", "i4"]
        assert {(item.instance, item.generation) for item in stand.memory.logged} == {(1, 7)}
        (event,) = stand.events
        assert (event["event"], event["instance"], event["crashes"]) == ("crash-loop", 1, 5)
        assert event["reason"].startswith("crashed 5 times in 2 s (killed by SIGSEGV after it was ready); next try at ")
        stand.update(failed(4))
        assert len(stand.actions) == 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert stand.crash_loop.troubles()[1].journal == ("last words of i4",)

    run(test)


def test_crashes_while_an_address_is_closed_are_delayed_and_do_not_count_against_the_generation() -> None:
    async def test(stand: Stand) -> None:
        stand.closed = True
        stand.crash(5)
        assert stand.actions == [Stop(1, 7, "crash-loop", keep=True)]
        assert not stand.memory.logged
        stand.closed = False
        stand.update(down())
        stand.crash(7)
        assert [item.invocation for item in stand.memory.logged][-2:] == ["i5", "i6"]

    run(test)


@pytest.mark.parametrize(("requested", "ended"), [(True, False), (False, True), (None, False)])
def test_the_journal_decides_how_an_instance_ended(requested: bool | None, ended: bool) -> None:
    """An app that says STOPPING=1 before it ends looks to systemd's properties like one that was stopped by request."""

    async def test(stand: Stand) -> None:
        item = replace(down(), detail="exited with status 0 after it was ready", unclear=True)
        stand.requested = requested
        assert stand.crash_loop.overlay(Instances.of((item,)))[0].ended is None
        stand.update(*stand.crash_loop.overlay(Instances.of((item,))))
        await asyncio.wait_for(stand.woken.wait(), 30)
        assert stand.crash_loop.overlay(Instances.of((item,))) == (replace(item, ended=ended),)
        stand.update(*stand.crash_loop.overlay(Instances.of((item,))))
        stand.now += GRACE
        stand.update(*stand.crash_loop.overlay(Instances.of((item,))))
        assert stand.actions == ([Start(1, 7)] if ended else [])

    run(test)


def test_an_instance_is_not_kept_down_without_a_record() -> None:
    async def test(stand: Stand) -> None:
        stand.memory.full = True
        stand.crash(6)
        assert stand.actions == []
        assert stand.crash_loop.troubles()[1].crashes.count == 6
        stand.memory.full = False
        stand.update(Instance(1, 7, State.STARTING, restarts=6, invocation_id="i6"))
        stand.update(failed(6))
        assert stand.actions == [Stop(1, 7, "crash-loop", keep=True)]

    run(test)


def test_a_restarted_daemon_starts_an_instance_that_was_kept_down() -> None:
    memory = Memory()

    async def first(stand: Stand) -> None:
        stand.crash(5)

    async def second(stand: Stand) -> None:
        stand.now = memory.saved[1].retry_at or 0
        stand.update(down(), Instance(2, 7, State.INACTIVE))
        assert stand.actions == [Start(1, 7)]

    run(first, memory)
    run(second, memory)


def test_the_loop_is_woken_for_the_next_try() -> None:
    async def test(stand: Stand) -> None:
        stand.crash(5)
        stand.now += 1.0 - 1e-3
        stand.woken.clear()
        stand.update(down())
        await asyncio.wait_for(stand.woken.wait(), 10)
        stand.now += 1e-3
        stand.update(down())
        assert stand.actions[1:] == [Start(1, 7)]

    run(test)


def test_an_action_under_way_is_awaited() -> None:
    async def test(stand: Stand) -> None:
        stand.crash(4)
        stand.working.add(1)
        stand.update(failed(4))
        assert stand.actions == []
        assert stand.crash_loop.troubles()[1].crashes.count == 4

    run(test)


@pytest.mark.parametrize("why", ["a rollout", "an app that was stopped"])
def test_crashes_are_forgiven_for(why: str) -> None:
    async def test(stand: Stand) -> None:
        stand.crash(5)
        stand.up = why == "a rollout"
        stand.update(down(), busy=stand.up)
        assert stand.memory.saved == {}
        assert stand.crash_loop.troubles() == {}
        stand.up = True
        stand.now += 10.0
        stand.update(down())
        stand.update(failed(5, restarts=3))
        assert stand.actions == [Stop(1, 7, "crash-loop", keep=True)]
        assert stand.crash_loop.troubles()[1].crashes.count <= 4

    run(test)


def test_restarts_are_counted_across_a_rollout_and_a_restart_of_the_daemon() -> None:
    memory = Memory()
    back = Instance(1, 7, State.READY, ready_since=1010.0, invocation_id="i5")

    async def test(stand: Stand) -> None:
        stand.crash(5)
        assert stand.crash_loop.restarts([down()]) == {1: 4}
        stand.update(down())
        stand.now += 10.0
        stand.update(down())
        assert stand.actions[-1] == Start(1, 7)
        stand.update(back)
        assert stand.crash_loop.restarts([back]) == {1: 5}
        stand.update(back, busy=True)
        stand.update(back, busy=True)
        stand.update(back)
        assert stand.crash_loop.troubles() == {}
        assert stand.crash_loop.restarts([back]) == {1: 5}

    async def later(stand: Stand) -> None:
        stand.update(back)
        assert stand.crash_loop.restarts([back]) == {1: 5}
        stand.up = False
        stand.update(down())
        assert memory.saved == {}

    run(test, memory)
    run(later, memory)


def test_an_instance_without_a_pin_is_forgotten() -> None:
    async def test(stand: Stand) -> None:
        stand.crash(5)
        stand.update(Instance(1, None, State.INACTIVE))
        assert stand.memory.saved == {}

    run(test)


def test_the_daemon_takes_steady_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployd.daemon_settings import DaemonSettings

    assert DaemonSettings.from_environment().patience == Patience()
    monkeypatch.setenv("DEPLOYD_STEADY", "5")
    assert DaemonSettings.from_environment().patience == Patience(steady=5.0)
    monkeypatch.setenv("DEPLOYD_STEADY", "soon")
    with pytest.raises(Exception, match="DEPLOYD_STEADY is 'soon': it must be a number of seconds from 1 to 999999"):
        DaemonSettings.from_environment()
