"""Canaries, pauses and deadlines: where a rollout waits, how it continues, and what it survives meanwhile."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, INSTANCES, Begun, Json, Stage

OLD = {1, 2, 3, 4}


def generations(status: Json) -> list[int]:
    return sorted(item["generation"] for item in status["instances"] if item["ready"])


def act(stage: Stage, verb: str) -> None:
    done = stage.deployd(verb, APP)
    assert done.returncode == 0, done.stderr


def held(stage: Stage, begun: Begun) -> Json:
    """Wait until the rollout is paused; return the status."""
    event = begun.until("paused")
    assert event["pause"] == "held"
    assert f"deployd resume {APP}" in event["how"]
    return stage.status()


@pytest.mark.thorough
def test_pause_after_waits_at_counts_and_percentages(stage: Stage) -> None:
    stage.deploy("v1", rollout={"pause_after": [1, "50%"]})
    with stage.load() as load:
        with stage.begin("rollout", "--release", stage.release("v2")) as begun:
            for new in (1, 2):
                status = held(stage, begun)
                assert generations(status) == [1] * (INSTANCES - new) + [2] * new
                assert status["rollout"]["phase"] == "paused"
                assert status["rollout"]["reason"] == f"pause_after: {new} of 4 instances are new"
                assert status["rollout"]["waits_for"] == "resume or abort"
                assert f"deployd abort {APP}" in status["rollout"]["how"]
                act(stage, "resume")
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert generations(stage.status()) == [2] * INSTANCES
    assert not record.failed, record.summary()


def test_a_canary_runs_alongside_the_old_instances_until_it_is_resumed(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    with stage.load() as load:
        with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "2") as begun:
            status = held(stage, begun)
            assert generations(status) == [1, 1, 1, 1, 2, 2]
            assert status["rollout"]["holds"] == [
                {"new": 2, "canary": True, "share": None, "preview": False, "address": False, "smoke": False}
            ]
            assert {number: ran for number, ran in stage.invocations().items() if number in OLD} == before
            assert "deployd resume" in stage.deployd("status", APP).stdout
            act(stage, "resume")
            assert begun.end().result == "succeeded"
        record = load.stop()
    assert generations(stage.status()) == [2] * INSTANCES
    assert not record.failed, record.summary()


@pytest.mark.thorough
def test_an_aborted_canary_is_removed(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    with stage.load() as load:
        with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "1") as begun:
            held(stage, begun)
            act(stage, "abort")
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (1, "aborted"), ended
    assert stage.invocations() == before
    assert not record.failed, record.summary()


@pytest.mark.thorough
def test_a_canary_that_crashes_while_it_waits_is_rolled_back(stage: Stage) -> None:
    """It passed its gate, and crashes repeatedly before anyone resumes it."""
    stage.deploy("v1")
    before = stage.invocations()
    bad = stage.release("v2", mode="crash-idle", files={"crash_after": "0.3"})
    with stage.load() as load:
        with stage.begin("rollout", "--release", bad, "--canary", "1") as begun:
            held(stage, begun)
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    failure = ended.finished["failure"]
    assert (failure["gate"], failure["instance"]) == ("stay-up", 5)
    # `exit_status` is null if systemd has restarted the instance before deployd observes it again.
    assert failure["reason"] == "instance 5 keeps crashing: exited with status 5 after it was ready"
    assert stage.invocations() == before
    assert not record.failed, record.summary()


@pytest.mark.thorough
def test_first_deployments_and_rollbacks_do_not_wait(stage: Stage) -> None:
    """A first deployment has no old instances, and a rollback must not wait."""
    stage.deploy("v1", rollout={"pause_after": [1]})
    with stage.begin("rollout", "--release", stage.release("v2")) as begun:
        begun.until("paused")
        act(stage, "resume")
        assert begun.end().result == "succeeded"
    for verb, *argv in (["rollback"], ["scale", "5"]):
        ended = stage.change(verb, *argv)
        assert ended.result == "succeeded"
        assert "paused" not in [event["event"] for event in ended.events]


@pytest.mark.thorough
def test_a_canary_of_more_instances_than_the_app_has_is_refused(stage: Stage) -> None:
    stage.deploy("v1")
    ended = stage.change("rollout", "--release", stage.release("v2"), "--canary", "5")
    assert ended.status == 2
    assert "must be from 1 to 4" in ended.stderr


@pytest.mark.sampled
@pytest.mark.parametrize("what", ["restart", "kill", "reboot"])
def test_a_paused_rollout_survives(own_stage: Stage, what: str) -> None:
    """A restart of the daemon, SIGKILL and a reboot: the rollout stays paused, and continues when it is resumed."""
    stage = own_stage
    stage.deploy("v1")
    before = stage.invocations()
    begun = stage.begin("rollout", "--release", stage.release("v2"), "--canary", "1")
    held(stage, begun)
    begun.kill()  # the command may end, too
    match what:
        case "restart":
            stage.machine.run(["systemctl", "restart", "deployd"])
        case "kill":
            stage.machine.run(["systemctl", "kill", "--signal=KILL", "deployd"])
            stage.machine.wait_unit("deployd.service", "active")
        case "reboot":
            stage.machine.reboot()
            stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES + 1, what="all instances to run again")
    status = stage.status()
    assert generations(status) == [1, 1, 1, 1, 2]
    assert (status["rollout"]["phase"], status["rollout"]["pause"]) == ("paused", "held")
    if what != "reboot":
        assert {number: ran for number, ran in stage.invocations().items() if number in OLD} == before
    act(stage, "resume")
    stage.machine.wait_for(lambda: stage.status()["rollout"] is None, what="the end of the rollout")
    assert generations(stage.status()) == [2] * INSTANCES
    assert stage.history()[0]["result"] == "succeeded"


@pytest.mark.thorough
def test_replacing_several_at_once_keeps_the_required_capacity(stage: Stage) -> None:
    stage.deploy("v1", instances=6, rollout={"max_surge": 2, "max_unavailable": "34%"})
    with stage.load() as load:
        stage.journal.restart()
        ended = stage.rollout(stage.release("v2", boot=0.2))
        record = load.stop()
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert not record.failed, record.summary()
    serving = alive = least = most = 6
    for state in (event["state"] for event in ended.events if event["event"] == "instance"):
        serving += (state == "ready") - (state == "stopping")
        alive += (state == "starting") - (state == "stopped")
        least, most = min(least, serving), max(most, alive)
    assert (least, most) == (4, 8)


@pytest.mark.thorough
def test_progress_restarts_the_deadline(stage: Stage) -> None:
    """Four instances that take half a second each do not exceed a deadline of one second; one that hangs does."""
    stage.deploy("v1", rollout={"deadline": "1500ms"})
    before = stage.invocations()
    ended = stage.rollout(stage.release("v2", boot=0.6))
    assert ended.result == "succeeded", ended
    assert ended.finished["duration"] > 1.5
    hanging = stage.rollout(stage.release("v3", mode="hang"))
    assert (hanging.status, hanging.result) == (1, "rolled-back"), hanging
    assert "deadline" in hanging.reason
    assert hanging.finished["failure"]["gate"] == "deadline"
    assert before != stage.invocations()
