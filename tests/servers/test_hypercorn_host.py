"""Hypercorn under deployd: no request and no message fails, and no bad release goes live."""

from __future__ import annotations

import pytest

from tests.host.machine import Machine
from tests.servers import python_servers
from tests.servers.proof import prove
from tests.servers.verdict import harmless

pytestmark = pytest.mark.thorough


def test_no_request_fails(own_machine: Machine) -> None:
    row = prove(own_machine, python_servers.HYPERCORN, "steered", rollouts=3)
    harmless(row)
    assert row.during.moved
