"""A worker that takes long to stop drains: the rollout ends meanwhile, and what follows copes with it."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, Stage
from tests.host.worker import SETTINGS, Blocked, has_begun, jobs, release

LONG = {**SETTINGS, "instances": 1, "stop": {"timeout": "1h"}}


@pytest.fixture
def blocked(stage: Stage) -> Blocked:
    """A worker of generation 1 has a job of any length; instance 1 drains because of generation 2."""
    stage.machine.run(["rm", "-f", "/srv/jobs.log"])
    blocked = Blocked(stage)
    stage.configure(release=release(stage, "v1", job=blocked.path), **LONG)
    assert stage.change("apply").result == "succeeded"
    stage.machine.wait_for(lambda: has_begun(stage, 1), what="the first job")
    ended = stage.rollout(release(stage, "v2"))
    assert (ended.result, ended.finished["replaced"]) == ("succeeded", [1])
    assert states(stage) == {1: "draining", 2: "ready"}
    return blocked


def states(stage: Stage) -> dict[int, str]:
    return {item["instance"]: item["state"] for item in stage.status()["instances"]}


def ended(stage: Stage, *, generation: int) -> list[str]:
    """Return the jobs that ended."""
    return [line[3] for line in jobs(stage) if line[0] == "end" and line[2] == str(generation)]


def test_the_next_rollouts_leave_it_alone(stage: Stage, blocked: Blocked) -> None:
    status = stage.status()
    assert (status["ready"], status["health"], status["rollout"]) == (1, "ok", None)
    shown = stage.deployd("status", APP).stdout
    assert "draining: instance 1 finishes what it has begun, until " in shown
    stage.systemctl("kill", "--signal=KILL", "deployd.service")
    stage.machine.wait_for(lambda: stage.deployd("status", APP).returncode == 0, what="the daemon")
    assert states(stage) == {1: "draining", 2: "ready"}
    assert stage.rollout(release(stage, "v3")).result == "succeeded"
    assert stage.rollout(release(stage, "bad", "crash")).result == "rolled-back"
    assert stage.change("rollback", "--to", "1").result == "succeeded"
    assert stage.change("scale", "2").result == "succeeded"
    assert stage.change("restart").result == "succeeded"
    assert states(stage)[1] == "draining", "its number is taken"
    assert not ended(stage, generation=1)
    blocked.end()
    stage.machine.wait_for(lambda: 1 not in states(stage), what="the end of instance 1")
    assert ended(stage, generation=1) == ["1"]
    assert stage.status()["ready"] == 2


@pytest.mark.thorough
def test_neither_a_boot_nor_systemd_starts_it_again(stage: Stage, blocked: Blocked) -> None:
    stage.kill(1)
    stage.machine.wait_for(lambda: states(stage) == {2: "ready"}, what="the end of the killed one")
    assert stage.rollout(release(stage, "v3", job=blocked.path)).result == "succeeded"
    generation = stage.status()["generation"]
    stage.machine.wait_for(lambda: has_begun(stage, generation), what="a job")
    assert stage.rollout(release(stage, "v4")).result == "succeeded"
    assert sorted(states(stage).values()) == ["draining", "ready"]
    (number,) = (number for number, state in states(stage).items() if state == "ready")
    stage.machine.reboot(clean=False)
    stage.machine.wait_for(lambda: states(stage) == {number: "ready"}, what="the app after the boot")
    began = [line for line in jobs(stage) if line[0] == "begin" and line[2] == str(generation)]
    assert len(began) == 1, "the boot has not started it"


@pytest.mark.thorough
def test_it_is_asked_to_be_quiet_before_it_is_stopped(stage: Stage) -> None:
    stage.machine.run(["rm", "-f", "/srv/jobs.log"])
    stop = {"quiet": "SIGTSTP", "quiet_for": "1s"}
    stage.configure(release=release(stage, "v1"), **{**LONG, "stop": stop})
    assert stage.change("apply").result == "succeeded"
    assert stage.rollout(release(stage, "v2")).result == "succeeded"
    stage.machine.wait_for(lambda: 1 not in states(stage), what="the end of instance 1")
    lines = [line for line in jobs(stage) if line == ["quiet"] or line[1:3] == ["1", "1"]]
    assert lines.count(["quiet"]) == 1
    assert ["begin"] in [line[:1] for line in lines[lines.index(["quiet"]) :]], "SIGTERM came later"


@pytest.mark.thorough
def test_stop_and_remove_wait_for_it(stage: Stage, blocked: Blocked) -> None:
    removal = stage.machine.popen(["deployd", "remove", APP])
    stage.machine.wait_for(lambda: not stage.status()["ready"], what="the end of the other one")
    assert removal.poll() is None
    blocked.end()
    assert removal.wait(30) == 0
    assert ended(stage, generation=1) == ["1"]
