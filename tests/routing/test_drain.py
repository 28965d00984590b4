"""Which connections an instance still has, so that none is frozen with them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.plan.idle_connections import Ending
from deployd.routing.drain import Drain
from deployd.routing.listeners import SHARED, Listeners
from deployd.routing.passed_sockets import PassedSockets
from deployd.routing.unix_sockets import UnixSockets
from deployd.systemd.manager import Systemd


def drain() -> Drain:
    """An app that has changed to steered: instances 1 and 2 accept from the shared socket, 3 and 4 from their own."""
    tcp: Any = create_autospec(Listeners, instance=True)
    tcp.synced = True
    open_there = {SHARED: 2, 3: 5}

    def connections(numbers: Collection[int]) -> dict[int, int]:
        return {number: open_there[number] for number in numbers if number in open_there}

    tcp.connections.side_effect = connections
    passed: Any = create_autospec(PassedSockets, instance=True)
    passed.shared.return_value = dict.fromkeys((1, 2), frozenset({"demo.socket"}))
    passed.unix.return_value = None
    unix: Any = create_autospec(UnixSockets, instance=True)
    unix.connections.side_effect = lambda numbers: dict.fromkeys(numbers, 0)
    unix.reached.return_value = frozenset()
    systemd: Any = create_autospec(Systemd, instance=True)
    return Drain("demo", systemd, passed, tcp, unix, lambda: None)


def test_connections_of_a_shared_socket_count_for_each_instance_that_accepts_from_it() -> None:
    assert drain().connected((1,)) == {1: 2}, "the last one is not frozen while they are open"
    assert drain().connected((1, 2, 3, 4)) == {1: 2, 2: 2, 3: 5}


def test_connections_of_a_shared_socket_are_not_closed_as_idle() -> None:
    assert asyncio.run(drain().close_idle(1, 5.0)) is Ending.IN_USE


def waits_until(queued: list[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many readings of the queue of instance 3, which has 5 connections, are left when the drain ends."""
    monkeypatch.setattr("deployd.routing.drain.ACCEPTING", 0.05)
    made = drain()
    made._systemd.properties.return_value = {"ActiveState": "active"}  # type: ignore[attr-defined]
    made._tcp.half_open.return_value = frozenset()  # type: ignore[attr-defined]
    left = list(queued)
    made._tcp.queues.side_effect = lambda: {3: left.pop(0) if left else 0}  # type: ignore[attr-defined]
    asyncio.run(asyncio.wait_for(made.emptied(3, 3600.0, unix=False), 60))
    return len(left)


def test_an_instance_that_accepts_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits_until([5] * 1000, monkeypatch) > 0, "a probe may have been given up in its queue"


def test_an_instance_that_is_busy_with_what_it_has_accepted_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits_until([4] * 30, monkeypatch) == 0


@pytest.mark.parametrize(
    ("queues", "left"),
    [
        ([None, 0], 1),  # it has no listener of its own
        ([2, 0, 1, 0, 0, 0, 7], 1),  # one was still on its way from the proxy
    ],
)
def test_what_a_proxy_has_passed_on_is_waited_for(queues: list[int | None], left: int) -> None:
    made = drain()
    read = list(queues)
    made._tcp.unaccepted.side_effect = lambda _: read.pop(0)  # type: ignore[attr-defined]
    asyncio.run(asyncio.wait_for(made.passed_on(3, 3600.0), 60))
    assert len(read) == left
