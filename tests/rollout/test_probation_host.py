"""A generation that is live is watched: one that crashes is taken back automatically, and only once."""

from __future__ import annotations

from tests.host.begun import DEADLINE, Json
from tests.host.faults import kill_daemon
from tests.host.stage import APP, INSTANCES, Stage

WATCH = {"watch": "1h"}


def taken_back(stage: Stage) -> Json | None:
    newest = stage.history()[0]
    return newest if newest["cause"] == "watch" and newest["result"] != "running" else None


def observed(stage: Stage) -> bool:
    """True if the daemon has observed the instances, and knows of crashes."""
    return any(item["crashes"] for item in stage.status()["instances"])


def test_a_release_that_crashes_after_the_end_is_taken_back_also_by_the_next_daemon(stage: Stage) -> None:
    stage.deploy("v1", rollout=WATCH)
    watch = stage.status()["watch"]
    assert (watch["generation"], watch["returns_to"], watch["reason"]) == (1, None, "there is no generation before it")
    ended = stage.rollout(stage.release("v2"))
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    watch = stage.status()["watch"]
    assert (watch["generation"], watch["returns_to"], watch["crashes"], watch["failed"]) == (2, 1, 0, False)
    assert ended.finished["watched_until"] == watch["until"] == stage.history()[0]["watched_until"]
    load = stage.load()

    lost = stage.kill(2)
    stage.machine.wait_for(lambda: stage.status()["watch"]["crashes"] == 1, timeout=DEADLINE, what="a crash")
    kill_daemon(stage)
    # Crashes before the daemon has seen the instances once are not noticed.
    stage.machine.wait_for(lambda: observed(stage), timeout=DEADLINE, what="the crash in the next daemon's status")
    assert stage.status()["watch"] == {**watch, "crashes": 1}
    lost += stage.kill(3) + stage.kill(4)
    newest = stage.machine.wait_for(lambda: taken_back(stage), timeout=DEADLINE, what="the end of the rollback")

    assert newest is not None
    assert (newest["generation"], newest["result"], newest["release"]) == (3, "succeeded", "/srv/demo/v1"), newest
    reason = "crashed 3 times within"
    assert reason in newest["reason"]
    bad = stage.history()[1]
    assert (bad["generation"], bad["result"], bad["taken_back_by"]) == (2, "succeeded", 3)
    assert reason in bad["reason"]
    assert bad["failure"]["gate"] == "watch"
    assert f"taken back by generation 3: instances 2, 3, 4 {reason}" in stage.deployd("history", APP).stdout
    record = load.stop()
    assert len(record.failed) <= lost, record.summary()

    status = stage.status()
    assert [item["generation"] for item in status["instances"]] == [3] * INSTANCES
    watch = status["watch"]
    assert (watch["generation"], watch["returns_to"], watch["reason"]) == (3, None, "it is a rollback already")
    refused = stage.deployd("abort", APP)
    assert refused.returncode == 3
    assert "generation 3 is live and watched until" in refused.stderr
    accepted = stage.deployd("resume", APP)
    assert (accepted.returncode, "generation 3 is accepted" in accepted.stderr) == (0, True)
    assert stage.status()["watch"] is None
    assert stage.deployd("resume", APP).returncode == 3
