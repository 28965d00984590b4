"""The comparison counts what happens: what a server does that goes down at a bad release is in its row."""

from __future__ import annotations

import pytest

from tests.host.machine import Machine
from tests.servers.proof import Pressure
from tests.servers.reloads import page, python_ways
from tests.servers.reloads.capacity import Capacity
from tests.servers.reloads.comparison import measure

pytestmark = pytest.mark.thorough


def test_each_request_and_each_worker_that_is_missing_is_counted(own_machine: Machine) -> None:
    row = measure(own_machine, python_ways.HUP, False, 1, Pressure(), watch=3)
    said = page.text([row])
    assert row.during.requests > 100, said
    # Its old workers stop before the new ones have loaded, all of them unless the half seconds fall unluckily.
    assert (row.capacity.usual, row.capacity.workers) == (4, True), said
    assert row.capacity.least < 4, said
    assert row.crash.left == Capacity(0, 4, True), said
    assert row.crash.failed > row.crash.requests / 2, said
    assert row.errors.failed > row.errors.requests / 2, said
    assert (row.crash.attempts, row.errors.attempts) == (1, 1), said
