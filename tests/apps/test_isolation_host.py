"""One app's trouble is its own: another rolls out beside it as if it were alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.isolation import ATTACKS
from tests.host.stage import Stage


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_trouble_is_the_apps_own(stage: Stage, attack: Callable[[Stage], str]) -> None:
    assert attack(stage) == ""
