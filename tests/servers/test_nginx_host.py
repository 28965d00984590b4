"""nginx itself under deployd: no request fails, and no bad release goes live."""

from __future__ import annotations

import pytest

from tests.host.machine import Machine
from tests.servers import web_servers
from tests.servers.proof import prove
from tests.servers.verdict import harmless

pytestmark = pytest.mark.thorough


def test_no_request_fails(own_machine: Machine) -> None:
    harmless(prove(own_machine, web_servers.NGINX, "steered", rollouts=3))
