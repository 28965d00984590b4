"""A steered app without a serving instance for a while: replaced in place, stopped, rebooted."""

from __future__ import annotations

import re

import pytest

from tests.host.stage import APP, INSTANCES, PORT, Stage
from tests.host.steered import DAEMON, asked, generations, sockets, unharmed

PATIENT = ("--timeout", "30")


@pytest.mark.sampled
@pytest.mark.parametrize("count", [4, 1])
def test_instances_are_replaced_in_place(stage: Stage, count: int) -> None:
    """With one instance, connections wait in its queue until the next process accepts there."""
    stage.deploy("v1", routing="steered", instances=count, rollout={"max_surge": 0})
    with stage.load(150, 4, *PATIENT) as load:
        for number in (2, 3):
            ended = stage.rollout(stage.release(f"v{number}", boot=0.3))
            assert ended.result == "succeeded", ended
            assert generations(stage) == {number}
        ended = stage.rollout(stage.release("v4", mode="crash"))
        assert ended.result == "rolled-back", ended
        unharmed(load.stop())
    assert generations(stage) == {3}
    assert sockets(stage) == set(stage.invocations())
    assert len(sockets(stage)) == count


def test_sockets_stay_open_unless_their_units_have_changed(stage: Stage) -> None:
    """An instance that is replaced in place takes over the socket; one that is closed and opened has another inode."""
    stage.deploy("v1", routing="steered", rollout={"max_surge": 0})
    before = opened(stage)
    with stage.load(150, 4, *PATIENT) as load:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert opened(stage) == before
        stage.machine.write(f"/etc/systemd/system/{APP}@.socket.d/more.conf", "[Socket]\nBacklog=77\n")
        stage.machine.run(["systemctl", "daemon-reload"])
        assert stage.rollout(stage.release("v3")).result == "succeeded"
        unharmed(load.stop())
    after = opened(stage)
    assert len(after) == INSTANCES
    assert not after.keys() & before.keys()
    assert set(after.values()) == {77}


def opened(stage: Stage) -> dict[str, int]:
    """Map the inodes of the app's listening sockets to their backlogs."""
    lines = stage.machine.run(["ss", "-Hltne", f"sport = :{PORT}"]).stdout.splitlines()
    return {re.findall(r"ino:(\d+)", line)[0]: int(line.split()[2]) for line in lines}


@pytest.mark.thorough
def test_the_first_connection_starts_a_stopped_app(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    stage.machine.run(["systemctl", "stop", f"{APP}.service"])
    assert sockets(stage)
    assert stage.get()["generation"] == 1
    stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, what="all instances")
    stage.machine.wait_unit(f"{APP}.service")
    with stage.load(150, 4, *PATIENT) as load:
        assert asked(stage) == {1: 100}
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        unharmed(load.stop())
    assert len(sockets(stage)) == INSTANCES


@pytest.mark.thorough
def test_an_app_that_is_restarted_keeps_its_clients_waiting(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    with stage.load(100, 0, *PATIENT) as load:
        stage.machine.run(["systemctl", "restart", f"{APP}.service"])
        stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, what="all instances")
        unharmed(load.stop())


@pytest.mark.thorough
@pytest.mark.parametrize("clean", [True, False], ids=["shut-down", "power-cut"])
def test_after_a_reboot_weights_are_right(own_stage: Stage, clean: bool) -> None:
    stage, machine = own_stage, own_stage.machine
    stage.deploy("v1", routing="steered")
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    machine.run(["systemctl", "mask", DAEMON])
    stage.close()
    machine.reboot(clean=clean)
    with stage.load(100, 0, *PATIENT) as load:
        machine.wait_unit(f"{APP}.service")
        assert generations(stage) == {2}  # the daemon is not needed for that
        machine.run(["systemctl", "unmask", DAEMON])
        machine.run(["systemctl", "start", DAEMON])
        machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, what="all instances")
        assert asked(stage) == {2: 100}
        assert {item["weight"] for item in stage.status()["instances"]} == {25.0}
        assert stage.change("rollback").result == "succeeded"
        unharmed(load.stop())
    assert generations(stage) == {3}


@pytest.mark.thorough
def test_a_canary_holds_over_a_reboot(own_stage: Stage) -> None:
    stage, machine = own_stage, own_stage.machine
    stage.deploy("v1", routing="steered")
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "5%") as begun:
        begun.until("paused")
    stage.close()
    machine.reboot(clean=False)
    with stage.load(100, 0, *PATIENT) as load:
        machine.wait_for(lambda: asked(stage) == {1: 95, 2: 5}, what="the shares of before")
        assert stage.status()["rollout"]["phase"] == "paused"
        assert stage.change("resume", "--wait").status == 0
        unharmed(load.stop())
    assert generations(stage) == {2}
