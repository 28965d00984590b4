"""A shop, over IPv4 and IPv6."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reuseport.shop import Shop
from tests.reuseport.sockets import equal, ground, steering


@pytest.fixture(params=["127.0.0.1", "::"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with ground(request.param, [1, 2, 3]) as place, steering() as app:
        app.set(equal(1, 2, 3, order=[1, 2, 3]))
        assert app.sync(place.listeners()) == set()
        assert app.in_turn == ""
        yield Shop(place, app)
