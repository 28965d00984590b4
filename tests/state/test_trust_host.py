"""A history that is lost, damaged, foreign or locked: apps keep serving, and a repair is possible."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks import state, state_in_use
from tests.host.stage import Stage


@pytest.mark.parametrize("attack", [*state.ATTACKS, *state_in_use.ATTACKS], ids=lambda attack: attack.__name__)
def test_broken_state_affects_nothing_else(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""
