"""Forged messages, floods and deadly messages of an unprivileged user on the real system bus."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.bus import ATTACKS
from tests.host.stage import Stage


@pytest.mark.sampled
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_over_the_bus_fails(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""
