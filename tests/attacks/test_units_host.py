"""What the processes of an app attempt achieves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.units import ATTACKS
from tests.host.stage import Stage


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_it_achieves_nothing(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""
