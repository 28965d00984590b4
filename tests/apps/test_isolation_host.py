"""Trouble of one app does not affect the rollout of another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.isolation import ATTACKS
from tests.host.stage import Stage


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_trouble_of_one_app_does_not_affect_another(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""
