"""A history that is lost, damaged, somebody else's or locked: apps serve on, and there is a way out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks import state
from tests.host.stage import Stage


@pytest.mark.parametrize("attack", state.ATTACKS, ids=lambda attack: attack.__name__)
def test_state_that_is_broken_breaks_nothing_else(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""
