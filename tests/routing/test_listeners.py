"""When the socket of a dead instance is closed: not while systemd polls it, or it would close what waits there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployd.model.instance import Instance, State
from deployd.routing import listeners as routing
from deployd.routing.listeners import KEPT, Listeners


class Systemd:
    """Polls the socket until it has been asked `polls` times."""

    def __init__(self, polls: int) -> None:
        self.left = polls
        self.calls: list[str] = []

    async def read(self, _unit: str, _interface: str, _names: list[str]) -> dict[str, str]:
        self.left -= 1
        self.calls.append("listening" if self.left >= 0 else "running")
        return {"SubState": self.calls[-1]}

    async def stop(self, unit: str) -> asyncio.Future[str]:
        self.calls.append(f"stop {unit}")
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        done.set_result("done")
        return done

    def properties(self, _unit: str) -> dict[str, str]:
        return {"ActiveState": "inactive"}

    async def states(self, _patterns: list[str]) -> dict[str, object]:
        return {}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("polls", "waiting", "calls"),
    [
        (2, 3, ["listening", "listening", "running", "stop demo@1.socket"]),
        (0, 3, ["running", "stop demo@1.socket"]),
        (2, 0, ["stop demo@1.socket"]),
    ],
)
def test_a_socket_in_which_connections_wait_is_closed_when_systemd_has_seen_them(
    monkeypatch: pytest.MonkeyPatch, polls: int, waiting: int, calls: list[str]
) -> None:
    systemd: Any = Systemd(polls)
    kernel: Any = SimpleNamespace(diag=None, steering=lambda _app: None)
    listeners = Listeners("demo", systemd, kernel, SimpleNamespace(), Path("/"))  # type: ignore[arg-type]
    monkeypatch.setattr(listeners, "queues", lambda: {1: waiting})
    asyncio.run(listeners.end(1))
    assert systemd.calls == calls


class Units:
    """Socket units. `as_opened`: opening one again would change nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.as_opened = True

    def is_open(self, _unit: str) -> bool:
        return not self.calls or self.calls[-1] == "open"

    def is_as_opened(self, unit: str) -> bool:
        return self.as_opened and self.is_open(unit)

    async def unpolled(self, _unit: str, _has_waiting: object) -> None:
        pass

    async def open(self, *_: object) -> bool:
        self.calls.append("open")
        return True

    async def close(self, *_: object) -> None:
        self.calls.append("close")


@dataclass
class Kept:
    """An instance that is down, whose socket may be kept open."""

    units: Units
    listeners: Listeners
    clock: Clock
    queues: dict[int, int]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    kernel: Any = SimpleNamespace(diag=None, steering=lambda _app: SimpleNamespace())
    systemd: Any = SimpleNamespace(unwatch=lambda _unit: None)
    listeners = Listeners("demo", systemd, kernel, SimpleNamespace(), Path("/"))  # type: ignore[arg-type]
    made = Kept(Units(), listeners, Clock(), {})
    monkeypatch.setattr(listeners, "_units", made.units)
    monkeypatch.setattr(listeners, "_known", {1: (object(), ())})
    monkeypatch.setattr(listeners, "queues", lambda: made.queues)
    monkeypatch.setattr(listeners, "sync", lambda: None)
    monkeypatch.setattr(routing, "time", made.clock)
    return made


def test_a_socket_is_kept_open_until_its_instance_is_started_again(kept: Kept) -> None:
    assert kept.listeners.keep(1)
    assert asyncio.run(kept.listeners.close_unused()) == KEPT
    asyncio.run(kept.listeners.open(1, []))
    assert kept.units.calls == []
    assert asyncio.run(kept.listeners.close_unused()) == 0.0, "it is not kept any more"


def test_a_socket_that_was_kept_in_vain_is_closed(kept: Kept) -> None:
    assert kept.listeners.keep(1)
    kept.clock.now += KEPT
    assert asyncio.run(kept.listeners.close_unused()) == 0.0
    assert kept.units.calls == ["close"]


def test_a_socket_whose_unit_may_have_changed_is_opened_again(kept: Kept) -> None:
    assert kept.listeners.keep(1)
    kept.units.as_opened = False
    asyncio.run(kept.listeners.open(1, []))
    assert kept.units.calls == ["close", "open"]
    assert not kept.listeners.keep(1)


def test_a_socket_in_which_connections_wait_is_not_kept(kept: Kept) -> None:
    assert kept.listeners.keep(1)
    kept.queues[1] = 1
    assert not kept.listeners.keep(1)


class Steering:
    """Counts how often the connections were recounted, which takes a second each time."""

    def __init__(self, clock: Clock) -> None:
        self.in_turn = ""
        self.recounts = 0
        self._clock = clock

    def recount(self, _live: object) -> int:
        self.recounts += 1
        self._clock.now += 1
        return 0


def test_connections_are_recounted_when_a_process_is_new_and_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    steering = Steering(clock)
    kernel: Any = SimpleNamespace(diag=None, steering=lambda _app: steering)
    listeners = Listeners("demo", SimpleNamespace(), kernel, SimpleNamespace(), Path("/"))  # type: ignore[arg-type]
    monkeypatch.setattr(listeners, "_known", {1: ("", ())})
    monkeypatch.setattr("deployd.routing.recounts.time", clock)
    recounts = listeners.recounts
    first, second = (Instance(1, 7, State.READY, invocation_id=name) for name in ("first", "second"))
    assert recounts.update([first]) == 0
    assert recounts.update([first]) == 0
    assert steering.recounts == 1, "nothing has changed"
    assert recounts.update([second]) == 99, "it would take more than a hundredth of the time"
    clock.now += 99
    assert recounts.update([second]) == 0
    assert steering.recounts == 2
    clock.now += 298
    assert recounts.update([second]) == 0
    assert steering.recounts == 2
    clock.now += 1
    assert recounts.update([second]) == 0
    assert steering.recounts == 3, "after five minutes"
