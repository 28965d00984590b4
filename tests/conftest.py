"""Fixtures of all tests. Modules that need a real systemd have names that end in _host."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from deployd.config import trust
from deployd.files.walk import Step

pytest_plugins = ["tests.host.fixtures"]

# How fast examples are made says more about the machine's other work than about a test.
settings.register_profile("any-load", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("any-load")


@pytest.fixture(autouse=True)
def _trusting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """App files of tests lie below /tmp and belong to whoever runs them; only test_trust.py is about that."""
    if request.path.stem != "test_trust" and not request.path.stem.endswith("_host"):
        monkeypatch.setattr(trust, "require_roots", _anything)


def _anything(_: Step) -> None:
    return
