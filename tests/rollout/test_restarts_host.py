"""Instances that systemd restarts automatically during a rollout keep their generation, and lose only the requests
that they had."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, INSTANCES, Ran, Stage


def again(stage: Stage, instance: int, before: Ran) -> Ran:
    """Wait until systemd has restarted an instance, and deployd has seen that it is ready again."""

    def back() -> bool:
        rows = stage.status()["instances"]
        return any(
            row["instance"] == instance and row["ready"] and row["invocation_id"] != before.invocation for row in rows
        )

    stage.machine.wait_for(back, what=f"the restart of instance {instance}")
    return stage.invocations()[instance]


def test_an_old_instance_restarts_with_its_old_command_and_environment(stage: Stage) -> None:
    stage.deploy("v1", environment={"WORD": "old"})
    stage.configure(environment={"WORD": "new"}, exec=["/usr/bin/python3", "-u", "app.py"])
    before = stage.invocations()
    with stage.load(rate=100) as load:
        with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
            begun.until("instance", state="starting")
            assert stage.deployd("pause", APP).returncode == 0  # otherwise it would be replaced during the check
            held = stage.kill(1)
            after = again(stage, 1, before[1])
            argv, environ = stage.process(1)
            assert stage.deployd("resume", APP).returncode == 0
            stage.admit()
            ended = begun.end()
        record = load.stop()
    assert after.generation == 1
    assert argv == ["/usr/bin/python3", "app.py"]
    assert (environ["WORD"], environ["DEPLOYD_GENERATION"], environ["DEPLOYD_RELEASE"]) == ("old", "1", "/srv/demo/v1")
    assert ended.result == "succeeded", ended
    assert len(record.failed) <= held, (held, record.by_outcome())
    for number, ran in stage.invocations().items():
        argv, environ = stage.process(number)
        assert (ran.generation, argv[1:], environ["WORD"]) == (2, ["-u", "app.py"], "new")


@pytest.mark.thorough
def test_a_new_instance_that_has_passed_may_be_restarted(stage: Stage) -> None:
    stage.deploy("v1")
    with stage.load(rate=100) as load:
        with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
            number = begun.until("instance", state="starting")["instance"]
            stage.admit(number)
            begun.until("instance", state="ready", instance=number)
            before = stage.invocations()[number]
            held = stage.kill(number)
            stage.admit()
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert len(record.failed) <= held, (held, record.by_outcome())
    after = stage.invocations()
    assert {ran.generation for ran in after.values()} == {2}
    assert len(after) == INSTANCES
    assert after[number].invocation != before.invocation
    [row] = [item for item in stage.status()["instances"] if item["instance"] == number]
    assert row["restarts"] == 1


@pytest.mark.thorough
def test_a_new_instance_killed_at_boot_is_rolled_back(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    with stage.load(rate=100) as load:
        with stage.begin("rollout", "--release", stage.release("v2", boot=30)) as begun:
            number = begun.until("instance", state="starting")["instance"]
            stage.machine.wait_for(lambda: stage.pid(number), what="its main process")
            stage.kill(number)
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert ended.reason == f"instance {number} was killed by SIGKILL before it was ready"
    assert not record.failed, record.by_outcome()
    assert stage.invocations() == before


@pytest.mark.thorough
def test_earlier_restarts_do_not_count_against_a_new_start(stage: Stage) -> None:
    # systemd keeps NRestarts of a unit that is stopped while it waits for its automatic restart.
    stage.deploy("v1", rollout={"max_surge": 0}, service={"RestartSec": "1s"})
    before = stage.invocations()[1]
    stage.kill(1)
    again(stage, 1, before)
    stage.kill(1)
    waits = {"SubState": "auto-restart"}
    stage.machine.wait_for(lambda: stage.show(f"{APP}@1.service", "SubState") == waits, what="the wait for a restart")
    ended = stage.change("restart")
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert {row["restarts"] for row in stage.status()["instances"]} == {0}
