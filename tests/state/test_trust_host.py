"""A history that is lost, damaged, foreign or locked: apps keep serving, and a repair is possible."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks import state, state_in_use
from tests.host.stage import Stage

SAMPLE = *state_in_use.ATTACKS, state.damaged_in_few_ways, state.records_lost_too, state.put_back


@pytest.mark.sampled
@pytest.mark.parametrize("attack", SAMPLE, ids=lambda attack: attack.__name__)
def test_broken_state_affects_nothing_else(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""
