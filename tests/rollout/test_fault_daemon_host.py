"""The daemon dies in mid-rollout, at any point: traffic goes on, and so does the rollout when it is back."""

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


@pytest.mark.parametrize("point", POINTS)
def test_killed_daemon_comes_back_and_finishes(stage: Stage, point: str) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until(**POINTS[point])  # type: ignore[arg-type]
        kill_daemon(stage)

    scene = Scene(stage)
    scene.check_succeeded(scene.roll_out(fault))


def test_daemon_killed_again_and_again_gets_there(stage: Stage) -> None:
    """Once for each of its own starts, until the rollout is over."""
    scene = Scene(stage)
    begun = stage.begin("rollout", "--release", scene.release)
    begun.until("started")
    for _ in range(4):
        pid = daemon_pid(stage)
        kill_daemon(stage)
        stage.machine.wait_for(lambda gone=pid: daemon_pid(stage) not in (0, gone), what="a new daemon")  # type: ignore[misc]
        stage.machine.wait_unit(DAEMON)
    scene.check_succeeded(begun.end())


def test_finished_instances_are_left_alone_by_the_daemon_that_returns(stage: Stage) -> None:
    scene = Scene(stage)
    begun = stage.begin("rollout", "--release", scene.release)
    done = begun.until("instance", state="ready")["instance"]
    kill_daemon(stage)
    invocation = stage.show(f"demo@{done}.service", "InvocationID")["InvocationID"]
    ended = begun.end()
    assert stage.invocations()[done].invocation == invocation
    scene.check_succeeded(ended)


def test_stopped_daemon_goes_on_when_it_is_started(stage: Stage) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="ready")
        stage.machine.run(["systemctl", "stop", DAEMON])
        before = scene.load.progress()
        # Without the daemon nothing changes, and requests are answered.
        stage.machine.wait_for(lambda: scene.load.progress()["requests"] > before["requests"] + 50, what="traffic")
        assert scene.load.progress()["failed"] == 0
        stage.machine.run(["systemctl", "start", DAEMON])

    scene = Scene(stage)
    scene.check_succeeded(scene.roll_out(fault))


def test_daemon_killed_while_it_goes_back_still_goes_back(stage: Stage) -> None:
    """The second new instance does not come up: the first is on its way out again when the daemon dies."""
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


def test_daemon_that_hangs_is_ended_by_its_watchdog_and_goes_on(stage: Stage) -> None:
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


def test_waiting_command_can_be_killed(stage: Stage) -> None:
    """It only watches: the rollout is the daemon's."""
    scene = Scene(stage)
    begun = stage.begin("rollout", "--release", scene.release)
    begun.until("started")
    machine = stage.machine
    machine.signal(begun.process, signal.SIGKILL)
    begun.kill()
    machine.wait_for(lambda: stage.status()["rollout"] is None, what="the end of the rollout")
    assert stage.status()["generation"] == 2
    scene.check_unharmed()
