"""What unit tests share."""

from __future__ import annotations

import pytest

from deployd.config import trust
from deployd.config.walk import Step


@pytest.fixture(autouse=True)
def _trusting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """App files of tests lie below /tmp and belong to whoever runs them; only test_trust.py is about that."""
    if request.path.stem != "test_trust":
        monkeypatch.setattr(trust, "require_roots", _anything)


def _anything(_: Step) -> None:
    return
