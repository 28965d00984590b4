"""Requests to drain this host meet the drain of a rollout."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.apps.announcer import Announcer
from deployd.apps.host_draining import HostDraining
from deployd.errors import Refused
from deployd.model.host_drain import HOST, RolloutDrain
from deployd.state.host_drains import HostDrains


@pytest.fixture
def drains(tmp_path: Path) -> HostDrains:
    return HostDrains(tmp_path)


@pytest.fixture
def draining(drains: HostDrains) -> HostDraining:
    registry: Any = []
    return HostDraining(drains, RolloutDrain(), registry, create_autospec(Announcer, instance=True))


def test_the_drain_of_a_rollout_is_not_ended_by_hand(drains: HostDrains, draining: HostDraining) -> None:
    draining.begin_rollout("shop", 7)
    assert (draining.is_rolling("shop"), draining.is_rolling("blog")) == (True, False)
    with pytest.raises(Refused) as caught:
        draining.undrain("shop")
    sentence = (
        "shop is drained for its rollout to generation 7, which ends that drain; to end it now, pause the rollout"
    )
    assert str(caught.value) == f"{sentence}: deployd pause shop"
    draining.drain("shop", "a disk")
    draining.undrain("shop")
    draining.undrain(HOST)
    assert drains.own("shop") is None
    assert draining.is_rolling("shop")
    draining.end_rollout("shop")
    draining.undrain("shop")
    assert drains.of("shop") is None
