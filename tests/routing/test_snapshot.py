"""What routing knows of an app: whether its rollout has instances yet to start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployd.model.instance import Instance, State
from deployd.model.rollout import Phase, Rollout
from deployd.routing.snapshot import Snapshot
from tests.plan.worlds import app

COUNT = 3
ROLLING = Rollout("shop", 1, 2)


@pytest.mark.parametrize(
    ("new", "rollout", "more"),
    [
        (0, ROLLING, True),
        (COUNT - 1, ROLLING, True),
        (COUNT, ROLLING, False),
        (0, replace(ROLLING, phase=Phase.ROLLING_BACK), False),
        (1, replace(ROLLING, phase=Phase.ROLLING_BACK), True),
        (0, None, False),
    ],
)
def test_a_rollout_starts_instances_until_its_goal_has_all(new: int, rollout: Rollout | None, more: bool) -> None:
    there = [Instance(number, 2 if number <= new else 1, State.READY) for number in range(1, COUNT + 1)]
    settings = replace(app(), instances=COUNT)
    assert Snapshot(tuple(there), settings, rollout).has_more_to_start is more
