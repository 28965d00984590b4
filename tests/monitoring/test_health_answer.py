"""What a load balancer is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.monitoring import health_answer
from deployd_cli.monitoring.health_answer import DRAINED, UP
from tests.monitoring.statuses import statuses


@pytest.mark.parametrize(
    ("path", "app"),
    [
        ("/", ""),
        ("", None),
        ("/shop", "shop"),
        ("/shop/", "shop"),
        ("/1st.app_x-y", "1st.app_x-y"),
        ("/../etc/passwd", None),
        ("/.hidden", None),
        ("/shop/x", None),
        ("//", None),
        (f"/{'x' * 64}", None),
    ],
)
def test_a_path_names_the_host_or_an_app(path: str, app: str | None) -> None:
    assert health_answer.app_of(path) == app


@given(st.text())
def test_no_path_leads_elsewhere(path: str) -> None:
    app = health_answer.app_of(path)
    assert app is None or ("/" not in app and not app.startswith("."))


@given(st.booleans(), st.none() | statuses)
def test_clients_are_sent_to_an_app_that_serves_them(up: bool, status: Mapping[str, Any] | None) -> None:
    found = health_answer.of_app(up, status)
    serves = status is None or status["health"] in ("ok", "degraded")
    assert (found == UP) == (up and serves)
    assert up or found == DRAINED


def test_the_host_is_up_unless_it_is_drained() -> None:
    assert (health_answer.of_host(True).status, health_answer.of_host(False).status) == (200, 503)
