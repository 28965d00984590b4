"""A rollback that fails, too: it pauses instead of looping, and says why two generations run."""

from __future__ import annotations

import shutil

import pytest

from tests.host.stage import APP, INSTANCES, Begun, Json, Stage


def stranded(begun: Begun, stage: Stage) -> Json:
    """Wait until the rollback is paused; return its status."""
    event = begun.until("paused")
    assert event["pause"] == "stranded"
    rollout: Json = stage.status()["rollout"]
    assert (rollout["phase"], rollout["pause"]) == ("paused", "stranded")
    assert f"repeat the rollback with: deployd resume {APP}" in rollout["how"]
    return rollout


def check_all_back(stage: Stage) -> None:
    status = stage.status()
    assert (status["generation"], status["ready"], status["rollout"]) == (1, INSTANCES, None)
    assert {item["generation"] for item in status["instances"]} == {1}


def test_a_rollback_to_a_release_that_fails_pauses(stage: Stage) -> None:
    """Without surge an old instance has stopped when the new one fails, and cannot start again until it is fixed."""
    stage.deploy("v1", rollout={"max_surge": 0})
    before = stage.invocations()
    mode = stage.machine.path("/srv/demo/v1/mode")
    with stage.load() as load:
        with stage.begin("rollout", "--release", stage.release("v2", mode="crash", boot=0.5)) as begun:
            begun.until("instance", state="starting")
            mode.write_text("crash\n")
            rollout = stranded(begun, stage)
            assert "rolling back failed: instance" in rollout["reason"]
            mode.write_text("good\n")
            assert stage.deployd("resume", APP).returncode == 0
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    check_all_back(stage)
    after = stage.invocations()
    assert len([number for number, ran in before.items() if after[number] == ran]) == INSTANCES - 1
    assert not record.failed, record.summary()


@pytest.mark.thorough
def test_a_rollback_to_a_release_that_was_removed_pauses(stage: Stage) -> None:
    stage.deploy("v1", rollout={"max_surge": 0})
    old = stage.machine.path("/srv/demo/v1")
    with stage.load() as load:
        with stage.begin("rollout", "--release", stage.release("v2", mode="crash", boot=0.5)) as begun:
            begun.until("instance", state="starting")
            old.rename(old.with_name("aside"))
            rollout = stranded(begun, stage)
            assert "rollback is impossible: the release /srv/demo/v1" in rollout["reason"]
            shutil.move(old.with_name("aside"), old)
            assert stage.deployd("resume", APP).returncode == 0
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    check_all_back(stage)
    assert not record.failed, record.summary()
