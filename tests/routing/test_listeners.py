"""When the socket of a dead instance is closed: not while systemd polls it, or it would close what waits there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployd.model.instance import Instance, State
from deployd.routing.listeners import Listeners


class Systemd:
    """Polls the socket until it has been asked `polls` times."""

    def __init__(self, polls: int) -> None:
        self.left = polls
        self.calls: list[str] = []

    async def read(self, _unit: str, _interface: str, _names: list[str]) -> dict[str, str]:
        self.left -= 1
        self.calls.append("listening" if self.left >= 0 else "running")
        return {"SubState": self.calls[-1]}

    async def close(self, unit: str, _starter: str) -> None:
        self.calls.append(f"close {unit}")


@pytest.mark.parametrize(
    ("polls", "waiting", "calls"),
    [
        (2, 3, ["listening", "listening", "running", "close demo@1.socket"]),
        (0, 3, ["running", "close demo@1.socket"]),
        (2, 0, ["close demo@1.socket"]),
    ],
)
def test_a_socket_in_which_connections_wait_is_closed_when_systemd_has_seen_them(
    monkeypatch: pytest.MonkeyPatch, polls: int, waiting: int, calls: list[str]
) -> None:
    systemd: Any = Systemd(polls)
    kernel: Any = SimpleNamespace(diag=None, steering=lambda _app: None)
    listeners = Listeners("demo", systemd, kernel, SimpleNamespace(), Path("/"))  # type: ignore[arg-type]
    monkeypatch.setattr(listeners, "_units", systemd)
    monkeypatch.setattr(listeners, "queues", lambda: {1: waiting})
    asyncio.run(listeners.end(1))
    assert systemd.calls == calls


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


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


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
