"""Attacks by the processes of an app."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.units import ATTACKS
from tests.host.stage import Stage


@pytest.mark.sampled
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_by_processes_of_an_app_fails(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""
