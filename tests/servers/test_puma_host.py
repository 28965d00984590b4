"""puma under deployd, which says READY=1 itself: no request fails, and no bad release goes live."""

from __future__ import annotations

import pytest

from tests.host.machine import Machine
from tests.servers import ruby_servers
from tests.servers.proof import prove
from tests.servers.verdict import harmless

pytestmark = pytest.mark.thorough


def test_no_request_fails(own_machine: Machine) -> None:
    harmless(prove(own_machine, ruby_servers.PUMA, "steered", rollouts=3))
