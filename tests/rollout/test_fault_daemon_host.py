"""The daemon is killed at any point of a rollout: traffic is not affected, and the rollout continues afterwards."""

from __future__ import annotations

import signal

import pytest

from tests.host.faults import BOOT, Scene, daemon_pid, kill_daemon
from tests.host.stage import Begun, Stage

POINTS = {
    "begun": {"event": "started"},
    "booting": {"event": "instance", "state": "starting"},
    "stopping": {"event": "instance", "state": "stopping"},
}
DAEMON = "deployd.service"


@pytest.mark.sampled
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_daemon_is_restarted_and_finishes(stage: Stage, point: str) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until(**POINTS[point])  # type: ignore[arg-type]
        kill_daemon(stage)

    scene = Scene(stage)
    scene.check_succeeded(scene.roll_out(fault))


@pytest.mark.thorough
def test_a_daemon_that_is_killed_repeatedly_finishes(stage: Stage) -> None:
    """Each new daemon is killed again, four times in a row."""
    scene = Scene(stage)
    begun = stage.begin("rollout", "--release", scene.release)
    begun.until("started")
    for _ in range(4):
        pid = daemon_pid(stage)
        kill_daemon(stage)
        stage.machine.wait_for(lambda gone=pid: daemon_pid(stage) not in (0, gone), what="a new daemon")  # type: ignore[misc]
        stage.machine.wait_unit(DAEMON)
    scene.check_succeeded(begun.end())


@pytest.mark.thorough
def test_a_restarted_daemon_keeps_instances_that_are_done(stage: Stage) -> None:
    scene = Scene(stage)
    begun = stage.begin("rollout", "--release", scene.release)
    done = begun.until("instance", state="ready")["instance"]
    kill_daemon(stage)
    invocation = stage.show(f"demo@{done}.service", "InvocationID")["InvocationID"]
    ended = begun.end()
    assert stage.invocations()[done].invocation == invocation
    scene.check_succeeded(ended)


@pytest.mark.thorough
def test_a_stopped_daemon_continues_when_it_is_started(stage: Stage) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="ready")
        stage.machine.run(["systemctl", "stop", DAEMON])
        before = scene.load.progress()
        # Without the daemon no instance changes, and requests are answered.
        stage.machine.wait_for(lambda: scene.load.progress()["requests"] > before["requests"] + 50, what="traffic")
        assert scene.load.progress()["failed"] == 0
        stage.machine.run(["systemctl", "start", DAEMON])

    scene = Scene(stage)
    scene.check_succeeded(scene.roll_out(fault))


@pytest.mark.thorough
def test_a_daemon_killed_during_a_rollback_completes_it(stage: Stage) -> None:
    """The second new instance fails; the first is being stopped again when the daemon is killed."""
    serve = "exec /usr/bin/python3 app.py\n"
    release = stage.release(
        "bad", boot=BOOT, files={"run": f'#!/bin/sh\n[ "$DEPLOYD_INSTANCE" = 5 ] || exit 7\n{serve}'}
    )
    stage.release("v1", files={"run": f"#!/bin/sh\n{serve}"})
    stage.configure(release="/srv/demo/v1", exec=["./run"])
    assert stage.change("apply").status == 0
    load = stage.load()
    begun = stage.begin("rollout", "--release", release)
    begun.until("rolling-back")
    kill_daemon(stage)
    ended = begun.end()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert "exited with status 7" in ended.reason
    status = stage.status()
    assert [item["generation"] for item in status["instances"]] == [1] * 4
    assert status["ready"] == 4
    assert stage.history()[0]["result"] == "rolled-back"
    record = load.stop()
    assert not record.failed, record.summary()


@pytest.mark.thorough
def test_a_daemon_that_hangs_is_killed_by_its_watchdog_and_continues(stage: Stage) -> None:
    machine = stage.machine
    machine.write(f"/run/systemd/system/{DAEMON}.d/watchdog.conf", "[Service]\nWatchdogSec=500ms\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", DAEMON])

    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="ready")
        pid = daemon_pid(stage)
        machine.run(["systemctl", "kill", "--signal=STOP", DAEMON])
        machine.wait_for(lambda: daemon_pid(stage) not in (0, pid), what="a daemon that does not hang")
        assert int(stage.show(DAEMON, "NRestarts")["NRestarts"]) == 1

    scene = Scene(stage)
    scene.check_succeeded(scene.roll_out(fault))


@pytest.mark.thorough
def test_a_waiting_command_can_be_killed(stage: Stage) -> None:
    """It only watches the rollout, which the daemon carries out."""
    scene = Scene(stage)
    begun = stage.begin("rollout", "--release", scene.release)
    begun.until("started")
    machine = stage.machine
    machine.signal(begun.process, signal.SIGKILL)
    begun.kill()
    machine.wait_for(lambda: stage.status()["rollout"] is None, what="the end of the rollout")
    assert stage.status()["generation"] == 2
    scene.check_unharmed()
