"""The removal of an app: it can be repeated after an error, and clients that wait for a rollout get an answer."""

from __future__ import annotations

import pytest

from tests.host.faults import STATE, kill_daemon
from tests.host.neighbour import Neighbour
from tests.host.stage import APP, DEADLINE, PORT, Stage
from tests.rollout.test_fault_state_host import UNITS, fill, in_daemon, make_room, put_on_small_disk

STUBBORN = {"stop": {"timeout": "3s"}}


@pytest.fixture
def other(stage: Stage) -> Neighbour:
    return Neighbour(stage, "other", 9000)


def check_gone(app: Neighbour) -> None:
    assert app.units() == []
    assert not app.stage.machine.path(f"{STATE}/apps/{app.name}").exists()
    loaded = app.stage.machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{app.name}[.@]*"])
    assert loaded.stdout == ""
    assert app.name not in [item["app"] for item in app.stage.json("status")["apps"] if item["generation"]]


@pytest.mark.thorough
def test_a_removal_that_failed_is_finished_by_the_next_one(stage: Stage, other: Neighbour) -> None:
    """A unit file, then the pins, cannot be removed."""
    other.deploy()
    for path in (f"{UNITS}/other.service", f"{STATE}/apps/other/pins"):
        in_daemon(stage, "mount", "--bind", path, path)
        failed = stage.deployd("remove", "other")
        assert failed.returncode == 1, failed
        assert "half removed" in failed.stderr
        assert "finish with deployd remove other" in failed.stderr
        assert "Traceback" not in failed.stderr
        status = other.status()
        assert status["rollout"] is None
        assert status["ready"] == 0
        in_daemon(stage, "umount", path)
    done = stage.deployd("remove", "other")
    assert done.returncode == 0, done
    check_gone(other)
    other.deploy()
    assert other.status()["ready"] == 4


@pytest.mark.thorough
@pytest.mark.parametrize("place", [UNITS, STATE])
def test_nothing_is_stopped_if_files_cannot_be_removed(stage: Stage, other: Neighbour, place: str) -> None:
    other.deploy()
    in_daemon(stage, "mount", "--bind", place, place)
    in_daemon(stage, "mount", "--options=remount,bind,ro", place)
    refused = stage.deployd("remove", "other")
    assert refused.returncode == 1, refused
    assert "read-only" in refused.stderr
    assert other.status()["ready"] == 4
    # The app is still watched: crashes of its instances are counted.
    in_daemon(stage, "umount", place)
    stage.machine.run(["systemctl", "kill", "--signal=KILL", "other@1.service"])
    stage.machine.wait_for(lambda: other.status()["instances"][0]["crashes"] == 1, what="the crash to be seen")
    assert stage.deployd("remove", "other").returncode == 0
    check_gone(other)


@pytest.mark.thorough
def test_an_app_is_removed_from_a_disk_that_was_full(stage: Stage, other: Neighbour) -> None:
    put_on_small_disk(stage)
    other.deploy()
    fill(stage)
    done = stage.deployd("remove", "other")
    assert done.returncode in (0, 1)
    assert (done.returncode == 1) is ("finish with deployd remove other" in done.stderr), done
    make_room(stage)
    assert stage.deployd("remove", "other").returncode == 0
    check_gone(other)


def test_a_removal_is_finished_after_the_daemon_was_killed(stage: Stage, other: Neighbour) -> None:
    other.deploy("stubborn", **STUBBORN)
    with other.meanwhile("remove") as removing:
        stage.machine.wait_unit("other@1.service", "deactivating")
        kill_daemon(stage)
        assert removing.process.wait(DEADLINE) == 5
    stage.machine.wait_unit("deployd.service")
    assert other.status()["rollout"] is None
    done = stage.deployd("remove", "other")
    assert done.returncode == 0, done
    check_gone(other)


def test_a_rollout_under_way_is_aborted(stage: Stage) -> None:
    stage.deploy("v1", gate={"timeout": "50s"})
    with stage.begin("rollout", "--release", stage.release("v2", "hang")) as begun:
        begun.until("instance", state="starting")
        done = stage.deployd("remove", APP)
        ended = begun.end()
    assert done.returncode == 0, done
    assert (ended.status, ended.result, ended.reason) == (1, "aborted", "the app was removed")
    check_gone(Neighbour(stage, APP, PORT))


@pytest.mark.thorough
def test_the_first_deployment_under_way_is_aborted(stage: Stage) -> None:
    stage.configure(release=stage.release("v1", "hang"), gate={"timeout": "50s"})
    with stage.begin("apply") as begun:
        begun.until("instance", state="starting")
        done = stage.deployd("remove", APP, timeout=20)
        ended = begun.end()
    assert done.returncode == 0, done
    assert (ended.status, ended.result, ended.reason) == (1, "aborted", "the app was removed")
    check_gone(Neighbour(stage, APP, PORT))


@pytest.mark.thorough
@pytest.mark.parametrize("routing", ["shared", "steered"])
def test_a_paused_rollout_is_aborted(stage: Stage, routing: str) -> None:
    stage.deploy("v1", routing=routing)
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "1") as begun:
        begun.until("paused")
        done = stage.deployd("remove", APP)
        ended = begun.end()
    assert done.returncode == 0, done
    assert (ended.status, ended.result, ended.reason) == (1, "aborted", "the app was removed")
    check_gone(Neighbour(stage, APP, PORT))


@pytest.mark.thorough
def test_standby_instances_are_stopped(stage: Stage) -> None:
    """Frozen processes are thawed, or each would take the whole stop timeout."""
    stage.deploy("v1", routing="steered", rollout={"standby": "10min"}, stop={"timeout": "50s"})
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert [item["state"] for item in stage.status()["instances"]].count("standby") == 4
    done = stage.deployd("remove", APP, timeout=20)
    assert done.returncode == 0, done
    check_gone(Neighbour(stage, APP, PORT))


@pytest.mark.thorough
def test_other_requests_are_refused_meanwhile_and_another_removal_waits(stage: Stage, other: Neighbour) -> None:
    other.deploy("stubborn", stop={"timeout": "50s"})
    with other.meanwhile("remove") as removing:
        stage.machine.wait_unit("other@1.service", "deactivating")
        for argv in (["rollout", "other"], ["restart", "other"], ["scale", "other", "2"], ["apply", "other"]):
            refused = stage.deployd(*argv)
            assert (refused.returncode, refused.stderr) == (3, "deployd: other is being removed\n"), argv
        with other.meanwhile("remove") as another:
            stage.machine.run(["systemctl", "kill", "--signal=KILL", "other@*.service"])
            assert another.process.wait(DEADLINE) == 0
        assert removing.process.wait(DEADLINE) == 0
    check_gone(other)
