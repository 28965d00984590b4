"""An administrator changes units or release directories by hand during a rollout."""

from __future__ import annotations

import shutil

import pytest

from tests.host.faults import BOOT, Scene
from tests.host.stage import INSTANCES, Begun, Stage


@pytest.mark.thorough
def test_stopping_the_app_aborts_the_rollout_and_the_next_start_is_of_the_old_generation(stage: Stage) -> None:
    release = stage.release("v2", boot=BOOT)
    stage.deploy("v1")
    begun = stage.begin("rollout", "--release", release)
    begun.until("instance", state="stopped")
    stage.machine.run(["systemctl", "stop", "demo.service"])
    ended = begun.end()
    assert (ended.status, ended.result) == (1, "aborted"), ended
    assert "systemctl stop demo" in ended.reason
    assert stage.status()["ready"] == 0
    assert stage.show("demo.socket", "ActiveState") == {"ActiveState": "active"}
    # The next connection starts the app.
    assert stage.get()["generation"] == 1
    stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, what="all instances")
    assert {ran.generation for ran in stage.invocations().values()} == {1}
    assert stage.status()["generation"] == 1
    # Another rollout is possible.
    assert stage.rollout(release).result == "succeeded"


def test_an_app_stopped_under_load_is_started_again_and_loses_no_request(stage: Stage) -> None:
    """The socket stays open: the next request starts the app again, and the rollout succeeds or is aborted."""

    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="stopped")
        stage.machine.run(["systemctl", "stop", "demo.service"])

    scene = Scene(stage)
    ended = scene.roll_out(fault)
    assert ended.result in ("succeeded", "aborted")
    generation = 2 if ended.result == "succeeded" else 1

    def all_up() -> bool:
        ready = [item["generation"] for item in stage.status()["instances"] if item["ready"]]
        return ready == [generation] * INSTANCES

    stage.machine.wait_for(all_up, what=f"{INSTANCES} instances of generation {generation}")
    assert stage.status()["generation"] == generation
    scene.check_unharmed()


@pytest.mark.thorough
def test_an_old_instance_may_be_stopped_by_hand(stage: Stage) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="starting")
        stage.machine.run(["systemctl", "stop", "demo@1.service"])

    scene = Scene(stage)
    ended = scene.roll_out(fault)
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert [item["generation"] for item in stage.status()["instances"] if item["ready"]] == [2] * INSTANCES
    scene.check_unharmed()


@pytest.mark.thorough
def test_a_new_instance_stopped_by_hand_is_started_again(stage: Stage) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        done = begun.until("instance", state="ready")["instance"]
        stage.machine.run(["systemctl", "stop", f"demo@{done}.service"])

    scene = Scene(stage)
    ended = scene.roll_out(fault)
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert [item["generation"] for item in stage.status()["instances"] if item["ready"]] == [2] * INSTANCES
    scene.check_unharmed()


@pytest.mark.thorough
def test_a_masked_instance_is_not_used(stage: Stage) -> None:
    """It must not be started, and there are other numbers."""
    scene = Scene(stage)
    stage.machine.run(["systemctl", "mask", "--runtime", "demo@5.service"])
    ended = stage.rollout(scene.release)
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert 5 not in {number for number, _ in ended.instances("starting")}
    stage.machine.run(["systemctl", "unmask", "--runtime", "demo@5.service"])

    # The same for numbers that drop-ins of their own break: one that systemd starts, and one that is no instance.
    directories = {5: "ExecStartPre=/bin/false", 1: "Type=simple"}
    for number, line in directories.items():
        stage.machine.write(f"/etc/systemd/system/demo@{number}.service.d/x.conf", f"[Service]\n{line}\n")
    ended = stage.change("restart")
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    started = {number for number, _ in ended.instances("starting")}
    assert 5 in started
    assert not {1, 5} & stage.invocations().keys()
    warnings = {item["instance"]: item["reason"] for item in ended.events if item["event"] == "warning"}
    assert "demo@5.service has drop-ins of its own, so another number is used" in warnings[5]
    assert "demo@1.service.d/x.conf sets Type=" in warnings[1]
    assert stage.history()[0]["result"] == "succeeded"
    stage.machine.run(["rm", "-r", *(f"/etc/systemd/system/demo@{number}.service.d" for number in directories)])
    stage.machine.run(["systemctl", "daemon-reload"])
    assert stage.rollout(scene.release).result == "succeeded"
    scene.check_unharmed()


@pytest.mark.thorough
def test_a_release_that_was_removed_before_the_rollout_is_refused(stage: Stage) -> None:
    scene = Scene(stage)
    before = stage.invocations()
    shutil.rmtree(stage.machine.path(scene.release))
    done = stage.deployd("rollout", "demo", "--release", scene.release)
    assert done.returncode == 3, done
    assert scene.release in done.stderr
    assert stage.invocations() == before
    assert len(stage.history()) == 1
    scene.check_unharmed()


def test_a_release_that_is_removed_during_the_rollout_is_rolled_back(stage: Stage) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="ready")
        shutil.rmtree(stage.machine.path(scene.release))

    scene = Scene(stage)
    ended = scene.roll_out(fault)
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    if "200/CHDIR" not in ended.reason:  # it was gone between the check of the release and a start
        assert ended.reason == f"the release {scene.release} is gone (No such file or directory)"
        assert ended.finished["failure"]["gate"] == "release"
    scene.check_as_before()
    scene.check_unharmed()


@pytest.mark.thorough
def test_a_rollout_does_not_need_the_old_release(stage: Stage) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="ready")
        shutil.rmtree(stage.machine.path("/srv/demo/v1"))

    scene = Scene(stage)
    scene.check_succeeded(scene.roll_out(fault))
