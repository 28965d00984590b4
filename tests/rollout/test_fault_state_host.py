"""The directory of the state or of units is full or read-only: deployd reports it, changes nothing and recovers."""

from __future__ import annotations

import pytest

from tests.host.faults import STATE, Scene, daemon_pid
from tests.host.stage import INSTANCES, Begun, Stage

UNITS = "/etc/systemd/system"
DAEMON = "deployd.service"


def in_daemon(stage: Stage, *argv: str) -> None:
    """Run a command in the mount namespace of the daemon, which exists as long as the daemon."""
    stage.machine.run(["nsenter", f"--target={daemon_pid(stage)}", "--mount", "--", *argv])


def make_read_only(stage: Stage, path: str) -> None:
    in_daemon(stage, "mount", "--bind", path, path)
    in_daemon(stage, "mount", "--options=remount,bind,ro", path)


def put_on_small_disk(stage: Stage) -> None:
    """Mount an empty file system of 1 MB for the state."""
    stage.machine.run(["systemctl", "stop", DAEMON])
    stage.machine.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "small", STATE])
    stage.machine.run(["systemctl", "start", DAEMON])


def fill(stage: Stage) -> None:
    # dd fails when the file system is full, as intended.
    stage.machine.run(["dd", "if=/dev/zero", f"of={STATE}/ballast", "bs=4k"], check=False)


def make_room(stage: Stage) -> None:
    stage.machine.path(f"{STATE}/ballast").unlink()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_generation_that_cannot_be_written_is_an_error_and_nothing_changes(stage: Stage, kind: str) -> None:
    put_on_small_disk(stage)
    scene = Scene(stage)
    before = stage.invocations()
    if kind == "full":
        fill(stage)
    else:
        make_read_only(stage, f"{STATE}/apps")
    done = stage.deployd("rollout", "demo", "--release", scene.release)
    assert done.returncode == 1, done
    assert {"full": "the disk is full", "read-only": "read-only"}[kind] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert stage.invocations() == before
    assert len(stage.history()) == 1
    scene.check_as_before()
    if kind == "full":
        make_room(stage)
    else:
        in_daemon(stage, "umount", f"{STATE}/apps")
    scene.check_succeeded(stage.rollout(scene.release))


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_full_or_read_only_disk_pauses_a_rollout_until_it_is_resumed(stage: Stage, kind: str) -> None:
    put_on_small_disk(stage)
    scene = Scene(stage)
    begun = stage.begin("rollout", "--release", scene.release)
    begun.until("instance", state="starting")
    if kind == "full":
        fill(stage)
    else:
        make_read_only(stage, f"{STATE}/apps")
    paused = begun.until("paused")
    assert {"full": "full", "read-only": "read-only"}[kind] in paused["reason"]
    rollout = stage.status()["rollout"]
    assert (rollout["phase"], rollout["reason"]) == ("paused", paused["reason"])
    assert stage.status()["ready"] >= INSTANCES, "no instance is lost"
    assert scene.load.progress()["failed"] == 0
    if kind == "full":
        make_room(stage)
    else:
        in_daemon(stage, "umount", f"{STATE}/apps")
    assert stage.deployd("resume", "demo").returncode == 0
    scene.check_succeeded(begun.end())


@pytest.mark.thorough
def test_a_rollout_paused_by_a_full_disk_can_be_aborted_later(stage: Stage) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="stopped")
        fill(stage)
        begun.until("paused")
        make_room(stage)
        assert stage.deployd("abort", "demo").returncode == 0

    put_on_small_disk(stage)
    scene = Scene(stage)
    ended = scene.roll_out(fault)
    assert (ended.status, ended.result) == (1, "aborted"), ended
    scene.check_as_before()
    scene.check_unharmed()


@pytest.mark.thorough
def test_a_daemon_on_a_read_only_disk_answers_and_changes_nothing(stage: Stage) -> None:
    """It is killed first, so that the last transactions are in the write-ahead log of the database only."""
    machine = stage.machine
    put_on_small_disk(stage)
    scene = Scene(stage)
    status, history = stage.status(), stage.history()
    machine.run(["systemctl", "stop", "--no-block", DAEMON])
    machine.run(["systemctl", "kill", "--signal=KILL", DAEMON], check=False)
    machine.run(["systemctl", "stop", DAEMON])
    machine.run(["mount", "--options=remount,ro", STATE])
    machine.run(["systemctl", "start", DAEMON])
    assert stage.status() == status
    assert stage.history() == history
    done = stage.deployd("rollout", "demo", "--release", scene.release)
    assert done.returncode == 1, done
    assert "read-only" in done.stderr
    machine.run(["mount", "--options=remount,rw", STATE])
    in_daemon(stage, "mount", "--options=remount,bind,rw", STATE)  # its copy of the mount was made read-only
    # The daemon recovers without a restart.
    scene.check_succeeded(stage.rollout(scene.release))


def test_units_that_cannot_be_installed_are_an_error_and_nothing_changes(stage: Stage) -> None:
    scene = Scene(stage)
    before = stage.invocations()
    in_daemon(stage, "mount", "--options=remount,bind,ro", UNITS)
    stage.configure(service={"MemoryMax": "512M"})
    done = stage.deployd("apply", "demo")
    assert done.returncode == 1, done
    assert "read-only" in done.stderr
    assert UNITS in done.stderr
    assert stage.invocations() == before
    scene.check_unharmed()


@pytest.mark.thorough
def test_a_first_deployment_that_cannot_install_units_is_an_error(stage: Stage) -> None:
    in_daemon(stage, "mount", "--options=remount,bind,ro", UNITS)
    stage.configure(release=stage.release("v1"))
    done = stage.deployd("apply", "demo")
    assert done.returncode == 1, done
    assert "read-only" in done.stderr
    in_daemon(stage, "mount", "--options=remount,bind,rw", UNITS)
    assert stage.change("apply").result == "succeeded"
    assert stage.status()["ready"] == INSTANCES
