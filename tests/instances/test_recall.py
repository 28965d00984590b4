"""Recall: standby instances are thawed for a rollback ahead of its rollout, and return to standby if none begins."""

from __future__ import annotations

import pytest

from deployd.instances import recall
from deployd.model.action import Freeze, Thaw
from deployd.model.clock import Timestamp
from deployd.model.instance import Instance, State
from deployd.model.rollout import Rollout
from deployd.plan.goal import Goal
from tests.instances.standby_stage import NOW, Play, Stage

THAWED = [Instance(1, 4, State.READY), Instance(2, 4, State.STARTING), Instance(3, 5, State.READY)]


def test_the_standby_instances_of_the_generation_are_thawed(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.recall.begin(5, stage.settings)
        assert (stage.recall.generation, stage.actions) == (None, [])
        stage.up = False
        stage.recall.begin(4, stage.settings)
        assert (stage.recall.generation, stage.actions) == (None, [])
        stage.up = True
        stage.recall.begin(4, stage.settings)
        assert (stage.recall.generation, stage.actions) == (4, [Thaw(1, 4), Thaw(2, 4)])

    play(scenario)


@pytest.mark.parametrize(("seconds", "rollout", "ends"), [(29.9, None, False), (30.0, None, True), (30.0, 6, False)])
def test_instances_return_to_standby_if_no_rollout_begins(
    play: Play, monkeypatch: pytest.MonkeyPatch, seconds: float, rollout: int | None, ends: bool
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.recall.begin(4, stage.settings)
        stage.actions = []
        later = Timestamp(NOW.monotonic + seconds, NOW.wall + seconds, NOW.boot)
        monkeypatch.setattr(Timestamp, "now", lambda: later)
        under_way = None if rollout is None else Rollout("shop", 5, rollout)
        stage.recall.update(THAWED, stage.settings, under_way, None)
        assert stage.actions == ([Freeze(1, 4), Freeze(2, 4)] if ends else [])
        assert stage.recall.generation == (None if ends else 4)

    play(scenario)


def test_the_loop_is_woken_to_end_a_recall(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "LIMIT", 0.01)

    async def scenario(stage: Stage) -> None:
        await stage.freeze(1)
        stage.recall.begin(4, stage.settings)
        stage.wakes.clear()
        await stage.wakes.wait()

    play(scenario)


def test_a_rollout_with_a_goal_ends_the_recall(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.freeze(1, 2)
        stage.recall.begin(4, stage.settings)
        stage.actions = []
        stage.recall.update(THAWED, stage.settings, Rollout("shop", 5, 6), Goal(6, 1))
        assert (stage.recall.generation, stage.actions) == (None, [])
        stage.recall.cancel(THAWED, stage.settings)
        assert stage.actions == [], "nothing is recalled any more"

    play(scenario)
