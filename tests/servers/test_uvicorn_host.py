"""uvicorn under deployd, which says READY=1 from inside: no request fails, and no bad release goes live."""

from __future__ import annotations

import pytest

from tests.host.machine import Machine
from tests.servers import python_servers
from tests.servers.proof import prove
from tests.servers.verdict import harmless

pytestmark = pytest.mark.thorough


def test_no_request_fails(own_machine: Machine) -> None:
    harmless(prove(own_machine, python_servers.UVICORN, "steered", rollouts=3))
