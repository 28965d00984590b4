"""The subset of `make compat` in `make test`: no request fails, and no bad release goes live that is hard to notice.

gunicorn has a test of its own, with all bad releases; so have the others in `make thorough`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.host.machine import Machine
from tests.servers import node_servers, python_servers, ruby_servers, web_servers
from tests.servers.proof import prove
from tests.servers.server import Behaviour, Server
from tests.servers.verdict import harmless

HARD = (Behaviour.LATE, Behaviour.ERRORS)
SUBSET = (ruby_servers.PUMA, python_servers.UVICORN, node_servers.PORT, web_servers.NGINX)


@pytest.mark.parametrize("server", SUBSET, ids=[server.name for server in SUBSET])
def test_no_request_fails(own_machine: Machine, server: Server) -> None:
    bad = tuple(behaviour for behaviour in server.bad if behaviour in HARD)
    harmless(prove(own_machine, replace(server, bad=bad), "steered", rollouts=1))
