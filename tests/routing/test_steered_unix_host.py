"""UNIX addresses of a steered app: a symlink to a link that leads to one instance after another."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from tests.host.stage import APP, PORT, Stage
from tests.load.client import Load

SOCKET = "/run/demo/http.sock"
OWN = f"/run/deployd/socket/{APP}"
SWITCHES = 400


@pytest.fixture(autouse=True)
def _nothing_there(stage: Stage) -> None:
    """A test of before left its app as it was."""
    stage.machine.run(["rm", "-rf", str(Path(SOCKET).parent)])


def target(stage: Stage, address: str) -> str:
    """What a symlink says; empty if there is none."""
    place = Path(address)
    path = stage.machine.path(place.parent) / place.name
    return str(path.readlink()) if path.is_symlink() else ""


def named(stage: Stage, address: str = SOCKET) -> str:
    """Where the address leads over its link; empty if it is no symlink."""
    link = target(stage, address)
    return target(stage, link) if link else ""


def instance(target: str) -> int:
    return int(Path(target).name.partition("-")[0])


def answer(stage: Stage, address: tuple[str, int] | str = SOCKET) -> dict[str, object]:
    with stage.machine.connect(address) as connection:
        connection.sendall(b"GET /env HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        whole = b"".join(iter(lambda: connection.recv(65536), b""))
    fields: dict[str, object] = json.loads(whole.partition(b"\r\n\r\n")[2])["environment"]
    return fields


def load(stage: Stage, rate: int = 150) -> Load:
    return stage.load(rate, 4, "--unix", SOCKET)


@pytest.mark.parametrize("surge", [1, 0], ids=["surge", "in-place"])
def test_a_rollout_loses_no_request(stage: Stage, surge: int) -> None:
    stage.deploy(
        "v1", routing="steered", listen=[SOCKET, f"127.0.0.1:{PORT}"], user="www-data", rollout={"max_surge": surge}
    )
    assert named(stage).startswith(f"{OWN}/")
    with load(stage) as over_unix, stage.load(rate=100) as over_tcp:
        moves = 0
        seen = named(stage)
        end = time.monotonic() + 60
        while moves < SWITCHES and time.monotonic() < end:
            now = named(stage)
            moves += now != seen
            seen = now
            time.sleep(0.002)
        assert moves >= SWITCHES
        ended = stage.rollout(stage.release("v2"))
        assert ended.result == "succeeded", ended
        ended = stage.rollout(stage.release("v3", mode="crash"))
        assert ended.result == "rolled-back", ended
        ended = stage.change("rollback")
        assert ended.result == "succeeded", ended
        records = over_unix.stop(), over_tcp.stop()
    for record in records:
        assert not record.failed, record.by_outcome()
        assert record.requests
    assert answer(stage)["DEPLOYD_GENERATION"] == answer(stage, ("127.0.0.1", PORT))["DEPLOYD_GENERATION"]


def test_who_leads_nowhere_is_told_and_left_alone(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    before = stage.invocations()
    stage.machine.write(SOCKET, "mine")
    stage.configure(listen=[f"127.0.0.1:{PORT}", SOCKET])
    ended = stage.rollout(stage.release("v2"))
    assert ended.result == "rolled-back", ended
    assert f"{SOCKET} is there already" in str(ended)
    assert stage.machine.read(SOCKET) == "mine"
    assert stage.invocations() == before


def test_an_address_comes_and_goes_with_the_settings(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", listen=[SOCKET], instances=2)
    other = "/run/other/http.sock"
    with load(stage) as old:
        stage.configure(listen=[SOCKET, other])
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert not old.stop().failed
    assert answer(stage, other)["DEPLOYD_GENERATION"] == "2"
    stage.configure(listen=[other])
    with stage.load(150, 4, "--unix", other) as new:
        assert stage.rollout(stage.release("v3")).result == "succeeded"
        assert not new.stop().failed
    stage.machine.wait_for(lambda: not named(stage), what="the end of the old address")
    assert answer(stage, other)["DEPLOYD_GENERATION"] == "3"
    assert stage.deployd("remove", APP).returncode == 0
    assert not target(stage, other)
    assert not stage.machine.path(OWN).exists()


def test_an_address_may_be_anywhere(stage: Stage) -> None:
    """The daemon need not write there: the socket units do."""
    address = "/srv/demo/shared/a b%i$HOME'.sock"
    stage.deploy("v1", routing="steered", listen=[address], instances=2)
    assert answer(stage, address)["DEPLOYD_GENERATION"] == "1"
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert answer(stage, address)["DEPLOYD_GENERATION"] == "2"
    stage.machine.run(["systemctl", "stop", f"{APP}.service", f"{APP}@*.socket"])
    assert not target(stage, address), "nobody listens there any more"
    assert stage.rollout(stage.release("v3")).result == "succeeded"
    assert answer(stage, address)["DEPLOYD_GENERATION"] == "3"
    assert stage.deployd("remove", APP).returncode == 0
    assert not target(stage, address)


def test_the_daemon_may_write_where_it_has_to_and_nowhere_else(stage: Stage) -> None:
    """Tried as root in its own mount namespace."""
    pid = stage.show("deployd.service", "MainPID")["MainPID"]

    def writable(directory: str) -> bool:
        inside = ["nsenter", f"--target={pid}", "--mount", "--", "test", "-w", directory]
        return stage.machine.run(inside, check=False).returncode == 0

    stage.deploy("v1", routing="steered", listen=[SOCKET], instances=1)
    assert writable("/run/deployd/socket")
    assert writable("/run/systemd/system")
    closed = ("/run", "/run/dbus", "/run/systemd", "/run/systemd/transient", "/run/user", str(Path(SOCKET).parent))
    assert [directory for directory in closed if writable(directory)] == []


def test_the_first_connection_starts_the_app(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", listen=[SOCKET], instances=2)
    stage.machine.run(["systemctl", "stop", f"{APP}.service"])
    with stage.machine.connect(SOCKET) as connection:
        assert connection.family == socket.AF_UNIX
        connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_address_serves_without_the_daemon_and_after_it(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", listen=[SOCKET], instances=2)
    with load(stage) as over_unix:
        stage.machine.run(["systemctl", "kill", "--signal=KILL", "deployd.service"])
        stage.machine.wait_unit("deployd.service")
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        stage.machine.run(["systemctl", "stop", "deployd.service"])
        there = named(stage)
        assert instance(there) in {1, 2, 3}
        answer(stage)
        assert named(stage) == there
        record = over_unix.stop()
    assert not record.failed, record.by_outcome()


def test_after_a_reboot_the_address_is_there_without_the_daemon(own_stage: Stage) -> None:
    own_stage.deploy("v1", routing="steered", listen=[f"127.0.0.1:{PORT}", SOCKET], instances=2)
    own_stage.machine.run(["systemctl", "mask", "deployd.service"])
    own_stage.machine.reboot()
    own_stage.machine.wait_for(lambda: bool(named(own_stage)), what="the address")
    assert answer(own_stage)["DEPLOYD_GENERATION"] == "1"
    own_stage.machine.run(["systemctl", "unmask", "deployd.service"])
    own_stage.machine.run(["systemctl", "start", "deployd.service"])
    with load(own_stage) as over_unix:
        assert own_stage.rollout(own_stage.release("v2")).result == "succeeded"
        record = over_unix.stop()
    assert not record.failed, record.by_outcome()
    assert answer(own_stage)["DEPLOYD_GENERATION"] == "2"
