"""An app without `listen`: deployed, rolled out, rolled back, stopped, rebooted and removed without a socket."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, Stage
from tests.host.worker import SETTINGS, release


def test_the_life_of_an_app_without_listen(stage: Stage) -> None:
    stage.configure(release=release(stage, "v1"), **SETTINGS)
    assert stage.deployd("check", APP).returncode == 0
    ended = stage.change("apply")
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    status = stage.status()
    assert (status["routing"], status["addresses"], status["health"], status["ready"]) == ("none", [], "ok", 2)
    assert stage.systemctl("list-unit-files", f"{APP}*.socket", check=False).stdout.count(APP) == 0

    ended = stage.rollout(release(stage, "v2"))
    assert ended.result == "succeeded", ended
    assert {ran.generation for ran in stage.invocations().values()} == {2}
    before = stage.invocations()
    assert stage.rollout(release(stage, "bad", "crash")).result == "rolled-back"
    assert stage.invocations() == before
    refused = stage.deployd("rollout", APP, "--canary", "10%")
    assert (refused.returncode, "has no listen" in refused.stderr) == (3, True), refused.stderr
    assert "has no listen" in stage.deployd("weight", APP, "2", "10%").stderr
    assert stage.change("scale", "3").result == "succeeded"

    stage.systemctl("stop", APP)
    assert stage.status()["health"] == "stopped"
    stage.systemctl("start", APP)
    assert len(stage.invocations()) == 3
    stage.machine.reboot()
    stage.machine.wait_for(lambda: len(stage.invocations()) == 3, what="the instances after the boot")
    assert stage.status()["health"] == "ok"

    assert stage.deployd("remove", APP).returncode == 0
    assert stage.systemctl("list-units", "--all", f"{APP}*", check=False).stdout.count(APP) == 0


@pytest.mark.thorough
def test_a_worker_that_dies_within_min_ready_fails_the_gate(stage: Stage) -> None:
    stage.configure(release=release(stage, "v1"), **SETTINGS, gate={"type": "exec", "min_ready": "1s"})
    assert stage.change("apply").result == "succeeded"
    before = stage.invocations()
    ended = stage.rollout(release(stage, "bad", "dies"))
    assert (ended.status, ended.result) == (1, "rolled-back")
    assert ended.reason == "instance 3 exited with status 5 after it was ready"
    assert stage.invocations() == before


@pytest.mark.thorough
def test_listen_comes_and_goes(stage: Stage) -> None:
    stage.configure(release=release(stage, "v1"), **SETTINGS)
    assert stage.change("apply").result == "succeeded"
    web = {"exec": ["/usr/bin/python3", "app.py"], "listen": ["127.0.0.1:8080"]}
    for routing in ("shared", "steered"):
        stage.configure(**web, routing=routing)
        assert stage.change("apply").result == "succeeded"
        assert stage.get()["version"] == "v1"
        assert stage.status()["routing"] == routing
        stage.configure(**SETTINGS)
        assert stage.change("apply").result == "succeeded"
        status = stage.status()
        assert (status["routing"], status["addresses"], status["health"]) == ("none", [], "ok")
        assert stage.systemctl("list-units", f"{APP}*.socket").stdout.count(APP) == 0
