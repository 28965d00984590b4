"""Which connections an instance still has, so that none is frozen with them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from unittest.mock import create_autospec

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
