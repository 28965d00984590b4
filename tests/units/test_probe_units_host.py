"""The private socket is opened and closed with its instance, and starts nothing."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.host.private import HTTP, ask, is_open, path, socket_unit
from tests.host.stage import APP, PORT, Stage

GATE = {"probe": HTTP}


def unit(instance: int) -> str:
    return f"{APP}@{instance}.service"


def listener(stage: Stage) -> str:
    """Return the inode of the main socket."""
    table = stage.machine.path("/proc/1/net/tcp")
    (row,) = [row.split() for row in table.read_text().splitlines() if f":{PORT:04X} 00000000:0000 0A" in row]
    return row[9]


def crash(stage: Stage, instance: int) -> None:
    """Kill the instance and wait until systemd has restarted it."""
    before = stage.show(unit(instance), "InvocationID")
    stage.machine.run(["systemctl", "kill", "--signal=KILL", unit(instance)])

    def back() -> bool:
        seen = stage.show(unit(instance), "InvocationID", "ActiveState")
        return seen["ActiveState"] == "active" and seen["InvocationID"] != before["InvocationID"]

    stage.machine.wait_for(back, what="the automatic restart")


def test_each_instance_answers_after_starts_crashes_and_restarts(stage: Stage) -> None:
    stage.deploy("v1", instances=2, gate=GATE)
    listening = listener(stage)
    assert [ask(stage, number)["pid"] for number in (1, 2)] == [stage.pid(1), stage.pid(2)]
    crash(stage, 2)
    assert ask(stage, 2)["pid"] == stage.pid(2)
    stage.machine.run(["systemctl", "restart", unit(2)])
    assert ask(stage, 2)["pid"] == stage.pid(2)
    for verb in ("daemon-reload", "daemon-reexec"):
        pid = stage.pid(2)
        stage.machine.run(["systemctl", verb])
        assert ask(stage, 2)["pid"] == stage.pid(2) == pid
    # Many starts in a short time: there is no start limit.
    for _ in range(6):
        stage.machine.run(["systemctl", "restart", unit(2)])
    assert ask(stage, 2)["pid"] == stage.pid(2)
    assert ask(stage, 1)["pid"] == stage.pid(1)
    assert listener(stage) == listening
    modes = {path(number): stage.machine.path(path(number)).stat().st_mode & 0o777 for number in (1, 2)}
    assert set(modes.values()) == {0o600}


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["stopped", "crashed"])
def test_the_socket_closes_with_its_instance_and_its_queue_starts_nothing(stage: Stage, how: str) -> None:
    stage.deploy("v1", instances=2, gate=GATE, service={"RestartSec": "1h"})
    listening = listener(stage)
    stage.machine.run(["kill", "-STOP", str(stage.pid(2))])
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(stage.machine.connect(path(2))) for _ in range(3)]
        for connection in waiting:
            connection.sendall(b"GET /_status HTTP/1.0\r\n\r\n")
        if how == "stopped":
            stage.machine.run(["kill", "-CONT", str(stage.pid(2))])
            stage.machine.run(["systemctl", "stop", unit(2)])
            stage.machine.wait_unit(unit(2), "inactive")
        else:
            stage.machine.run(["systemctl", "kill", "--signal=KILL", unit(2)])
            stage.machine.wait_unit(unit(2), "activating")
        stage.machine.wait_unit(socket_unit(2), "inactive")
        assert not stage.machine.path(path(2)).exists()
        with pytest.raises(FileNotFoundError):
            stage.machine.connect(path(2))
        for connection in waiting:
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536, socket.MSG_WAITALL):
                    pass
    state = "inactive" if how == "stopped" else "activating"
    assert stage.show(unit(2), "ActiveState")["ActiveState"] == state
    assert ask(stage, 1)["pid"] == stage.pid(1)
    assert listener(stage) == listening


@pytest.mark.thorough
def test_instances_without_a_pin_have_no_private_socket(stage: Stage) -> None:
    stage.deploy("v1", instances=2, gate=GATE)
    assert [is_open(stage, number) for number in (1, 2, 3)] == [True, True, False]
    stage.machine.run(["systemctl", "restart", f"{APP}.service"])
    assert [is_open(stage, number) for number in (1, 2, 3)] == [True, True, False]
    stage.machine.run(["systemctl", "stop", f"{APP}.socket", f"{APP}.service"])
    for number in (1, 2, 3):
        stage.machine.wait_unit(socket_unit(number), "inactive")


@pytest.mark.thorough
def test_the_private_socket_depends_on_the_setting(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    listening = listener(stage)
    stage.configure(gate=GATE)
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    numbers = sorted(stage.invocations())
    assert [ask(stage, number)["pid"] for number in numbers] == [stage.pid(number) for number in numbers]
    assert stage.change("rollback").result == "succeeded"
    numbers = sorted(stage.invocations())
    assert [is_open(stage, number) for number in (1, 2, 3, 4)] == [False] * 4
    assert stage.get()["version"] == "v1"
    assert listener(stage) == listening
    assert stage.deployd("remove", APP).returncode == 0
    left = stage.machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}*"]).stdout
    assert left == ""
    assert not list(stage.machine.path("/etc/systemd/system").glob(f"{APP}*"))
