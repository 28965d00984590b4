"""Fixtures of a service on a private bus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bus.private_bus import connections, run
from tests.cli.fake_daemon import private_bus
from tests.service.served import Serve, Served, Test


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the private bus."""
    with private_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


@pytest.fixture
def serve(address: str) -> Serve:
    """Return what runs a test with a service and a client of it."""

    async def work(test: Test) -> None:
        async with connections(address, 2) as (server, client):
            served = Served(server, client)
            await served.service.start()
            await test(served)

    return lambda test: run(work(test))
