"""The daemon of a steered app dies or is restarted: the kernel keeps steering, and the next daemon continues."""

from __future__ import annotations

import pytest

from tests.host.faults import Scene, daemon_pid, kill_daemon
from tests.host.stage import APP, Begun, Stage
from tests.host.steered import (
    DAEMON,
    MAP_BY_ID,
    asked,
    fresh,
    generations,
    kept,
    kernel_ids,
    living,
    unharmed,
)

CANARY = 5.0
"""Percent."""
POINTS = {
    "begun": {"event": "started"},
    "starting": {"event": "instance", "state": "starting"},
    "ready": {"event": "instance", "state": "ready"},
    "stopping": {"event": "instance", "state": "stopping"},
}


def hold_canary(stage: Stage, **settings: object) -> None:
    """Roll out generation 2 up to a canary with its weight."""
    stage.deploy("v1", routing="steered", **settings)
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", f"{CANARY:g}%") as begun:
        begun.until("paused")
    assert asked(stage)[2] == CANARY


def wait_new_daemon(stage: Stage, pid: int) -> None:
    stage.machine.wait_for(lambda: daemon_pid(stage) not in (0, pid), what="a new daemon")
    stage.machine.wait_unit(DAEMON)


@pytest.mark.sampled
@pytest.mark.parametrize("point", POINTS)
def test_a_daemon_killed_in_mid_rollout_finishes_it(stage: Stage, point: str) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until(**POINTS[point])  # type: ignore[arg-type]
        kill_daemon(stage)

    stage.settings["routing"] = "steered"
    scene = Scene(stage)
    scene.check_succeeded(scene.roll_out(fault))
    assert generations(stage) == {2}
    assert asked(stage) == {2: 100.0}


@pytest.mark.sampled
@pytest.mark.parametrize("how", ["kill", "restart", "reexec", "reload", "reload-daemon", "stop-start"])
def test_a_canary_keeps_its_weight(stage: Stage, how: str) -> None:
    """Also while the daemon is not running, because the kernel steers."""
    machine = stage.machine
    hold_canary(stage)
    before, pid, stored = kernel_ids(stage), daemon_pid(stage), kept(stage)
    assert stored >= 5
    with stage.load(rate=250, keepalive=4) as load:
        load.mark("away")
        match how:
            case "kill":
                kill_daemon(stage)
                wait_new_daemon(stage, pid)
            case "restart":
                machine.run(["systemctl", "restart", DAEMON])
            case "reexec":
                machine.run(["systemctl", "daemon-reexec"])
            case "reload":
                machine.run(["systemctl", "daemon-reload"])
            case "reload-daemon":
                machine.run(["systemctl", "reload", DAEMON])
            case "stop-start":
                machine.run(["systemctl", "stop", DAEMON])
                seen = load.progress()["requests"]
                machine.wait_for(lambda: load.progress()["requests"] > seen + 400, what="requests without the daemon")
                machine.run(["systemctl", "start", DAEMON])
        assert asked(stage)[2] == CANARY
        seen = load.progress()["requests"]
        machine.wait_for(lambda: load.progress()["requests"] > seen + 400, what="requests")
        record = unharmed(load.stop())
    served = fresh(record.window(record.at("away"), record.end)).generations()
    share = 100 * served[2] / served.total()
    assert 2 < share < 8, served
    after = kernel_ids(stage)
    version = int(machine.run(["systemctl", "--version"]).stdout.split()[1])
    if how == "stop-start" and version < 254:  # systemd removes what it stored when the unit stops
        assert not before[0] & after[0]
        machine.wait_for(lambda: not living(MAP_BY_ID, before[0]), what="the end of the old maps")
    else:
        # A daemon that was not replaced still has a map that is not stored: which instances listen at the address. A
        # new daemon fills its own from the array of sockets.
        assert len(before[0] & after[0]) == stored + (daemon_pid(stage) == pid)
    assert kept(stage) == stored
    assert stage.change("resume", "--wait").status == 0
    assert generations(stage) == {2}


@pytest.mark.thorough
def test_instances_that_crash_without_the_daemon_are_restarted(stage: Stage) -> None:
    """systemd starts them again with their own sockets, and the next daemon has nothing to repair."""
    stage.deploy("v1", routing="steered")
    machine = stage.machine
    with stage.load(rate=100, keepalive=0) as load:
        machine.run(["systemctl", "stop", DAEMON])
        before = stage.show(f"{APP}@2.service", "InvocationID", "MainPID")
        held = stage.kill(2)
        machine.wait_for(
            lambda: stage.show(f"{APP}@2.service", "MainPID")["MainPID"] not in ("0", before["MainPID"]),
            what="the instance to come back",
        )
        machine.wait_unit(f"{APP}@2.service")
        machine.run(["systemctl", "start", DAEMON])
        machine.wait_for(lambda: stage.status()["ready"] == 4, what="all instances")
        pid = stage.pid(2)
        assert {item["instance"]: item["weight"] for item in stage.status()["instances"]} == dict.fromkeys(
            range(1, 5), 25
        )
        record = load.stop()
    assert len(record.failed) <= held, (held, record.by_outcome())
    assert stage.pid(2) == pid
