"""overlap = false: two of a clock never run at a time, whatever is killed when."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, Stage
from tests.host.worker import SETTINGS, Blocked, has_begun, jobs, release

CLOCK = {**SETTINGS, "instances": 1, "overlap": False, "stop": {"timeout": "60s"}}


def begun_generations(stage: Stage) -> list[str]:
    return [line[2] for line in jobs(stage) if line[0] == "begin"]


def test_a_rollout_a_bad_release_and_a_rollback(stage: Stage) -> None:
    stage.machine.run(["rm", "-f", "/srv/jobs.log"])
    stage.configure(release=release(stage, "v1"), **CLOCK)
    assert stage.change("apply").result == "succeeded"
    for version in ("v2", "v3"):
        assert stage.rollout(release(stage, version)).result == "succeeded"
    for mode in ("crash", "dies"):
        stage.configure(gate={"min_ready": "1s"})
        assert stage.rollout(release(stage, mode, mode)).result == "rolled-back"
    assert stage.change("rollback", "--to", "2").result == "succeeded"
    assert stage.change("restart").result == "succeeded"
    assert "overlap = false" in stage.deployd("rollout", APP, "--canary", "1").stderr
    stage.kill(next(iter(stage.invocations())))
    stage.machine.wait_for(lambda: len(stage.invocations()) == 1, what="the automatic restart")
    assert ["two"] not in jobs(stage)


@pytest.mark.thorough
def test_the_new_one_waits_for_the_old_one_whatever_dies(stage: Stage) -> None:
    stage.machine.run(["rm", "-f", "/srv/jobs.log"])
    blocked = Blocked(stage)
    stage.configure(release=release(stage, "v1", job=blocked.path), **CLOCK)
    assert stage.change("apply").result == "succeeded"
    stage.machine.wait_for(lambda: has_begun(stage, 1), what="the first job")
    with stage.begin("rollout", "--release", release(stage, "v2", job=blocked.path)) as begun:
        begun.until("instance", state="stopping")
        stage.systemctl("kill", "--signal=KILL", "deployd.service")
        stage.machine.wait_for(lambda: stage.deployd("status", APP).returncode == 0, what="the daemon")
        assert [item["state"] for item in stage.status()["instances"]] == ["stopping"]
        assert not has_begun(stage, 2)
        blocked.end()
        stage.machine.wait_for(lambda: has_begun(stage, 2), what="a job of the new one")
        begun.end()
    assert begun_generations(stage) == ["1", "2"]

    with stage.begin("rollout", "--release", release(stage, "v3", job=blocked.path)) as begun:
        begun.until("instance", state="stopping")
        # PID 1 is ready when it has no job, so the next stop must not wait for the test.
        stage.machine.write("/srv/demo/v2/job", "0.05")
        stage.machine.reboot(clean=False)
    stage.machine.wait_for(lambda: has_begun(stage, 3), what="a job of the new one")
    assert begun_generations(stage)[:3] == ["1", "2", "2"], "the boot has started what was pinned: the old one"
    assert ["two"] not in jobs(stage)
    stage.machine.wait_for(lambda: stage.history()[0]["result"] == "succeeded", what="the end of the rollout")
    assert stage.status()["ready"] == 1
