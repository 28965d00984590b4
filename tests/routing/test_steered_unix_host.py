"""UNIX addresses of a steered app: a symlink to a link that leads to the socket of one generation."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.host.faults import kill_daemon
from tests.host.stage import APP, PORT, Stage
from tests.host.steered import DAEMON
from tests.load.client import Load

SOCKET = "/run/demo/http.sock"
OWN = f"/run/deployd/socket/{APP}"
UNIX = {"routing": "steered", "listen": [SOCKET]}
STANDBY = {"standby": "10min"}


@pytest.fixture(autouse=True)
def _nothing_there(stage: Stage) -> None:
    """Remove what an earlier test left."""
    stage.machine.run(["rm", "-rf", str(Path(SOCKET).parent)])


def target(stage: Stage, address: str) -> str:
    """Return what a symlink says, or "" if there is none."""
    place = Path(address)
    path = stage.machine.path(place.parent) / place.name
    return str(path.readlink()) if path.is_symlink() else ""


def named(stage: Stage, address: str = SOCKET) -> str:
    """Return the path to which the address leads over its link, or "" if it is no symlink."""
    link = target(stage, address)
    return target(stage, link) if link else ""


def generation(stage: Stage) -> int:
    """Return the generation for which the socket was opened to which the address leads."""
    return int(Path(named(stage)).name.partition("-")[0])


def answer(stage: Stage, address: tuple[str, int] | str = SOCKET) -> dict[str, object]:
    with stage.machine.connect(address) as connection:
        return ask(connection, "close")


def ask(connection: socket.socket, then: str) -> dict[str, object]:
    connection.sendall(f"GET /env HTTP/1.1\r\nHost: demo\r\nConnection: {then}\r\n\r\n".encode())
    whole = b""
    while not (whole.endswith(b"}") or whole.endswith(b"}\n")):
        part = connection.recv(65536)
        assert part, whole
        whole += part
    fields: dict[str, object] = json.loads(whole.partition(b"\r\n\r\n")[2])["environment"]
    return fields


def answers(stage: Stage, instances: int = 1) -> set[tuple[str, str]]:
    """Return generation and instance of all that answer at the address.

    They share a queue, and one may take many connections in a row: ask until this many `instances` have answered.
    """
    found: set[tuple[str, str]] = set()
    for number in range(3000):
        if number >= 60 and len(found) >= instances:
            break
        one = answer(stage)
        found.add((str(one["DEPLOYD_GENERATION"]), str(one["DEPLOYD_INSTANCE"])))
    return found


def load(stage: Stage, rate: int = 150) -> Load:
    return stage.load(rate, 4, "--unix", SOCKET)


def unharmed(running: Load) -> None:
    record = running.stop()
    assert not record.failed, record.by_outcome()
    assert record.requests


@pytest.mark.sampled
@pytest.mark.parametrize("addresses", [[SOCKET, f"127.0.0.1:{PORT}"], [SOCKET]], ids=["with-tcp", "alone"])
@pytest.mark.parametrize("surge", [1, 0], ids=["surge", "in-place"])
def test_a_rollout_loses_no_request(stage: Stage, surge: int, addresses: list[str]) -> None:
    stage.deploy("v1", routing="steered", listen=addresses, user="www-data", rollout={"max_surge": surge})
    assert named(stage).startswith(f"{OWN}/1-")
    with load(stage) as over_unix:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert generation(stage) == 2
        ended = stage.rollout(stage.release("v3", mode="crash"))
        assert ended.result == "rolled-back", ended
        assert generation(stage) == 2
        ended = stage.change("rollback", "--to", "1")
        assert ended.result == "succeeded", ended
        unharmed(over_unix)
    assert answer(stage)["DEPLOYD_GENERATION"] == "4"
    assert {item["weight"] for item in stage.status()["instances"]} == {25.0}
    stage.machine.wait_for(lambda: sockets(stage) == {4}, what="the end of unused sockets")


def sockets(stage: Stage) -> set[int]:
    """Return the generations whose UNIX sockets are open."""
    listed = stage.machine.run(["systemctl", "list-units", "--plain", "--no-legend", f"{APP}:unix@*.socket"]).stdout
    return {int(line.partition("@")[2].partition(".")[0]) for line in listed.splitlines() if " active " in line}


@pytest.mark.thorough
def test_all_instances_of_one_generation_serve(stage: Stage) -> None:
    """The link moves once, when as many new instances serve as old ones."""
    stage.deploy("v1", **UNIX, rollout={"pause_after": [1, 2]})
    assert answers(stage, 4) == {("1", str(number)) for number in range(1, 5)}
    with stage.begin("rollout", "--release", stage.release("v2")) as begun:
        begun.until("paused")
    assert {number for number, _ in answers(stage)} == {"1"}
    weights = {item["generation"]: item["weight"] for item in stage.status()["instances"]}
    assert weights == {1: 33.33, 2: 0.0}
    kept = stage.machine.connect(SOCKET)
    assert ask(kept, "keep-alive")["DEPLOYD_GENERATION"] == "1"
    with stage.begin("resume", "--wait") as begun:
        begun.until("paused")
    stage.machine.wait_for(lambda: generation(stage) == 2, what="the move")
    assert len(answers(stage, 2)) == 2
    assert {number for number, _ in answers(stage)} == {"2"}
    stage.deployd("abort", APP)
    stage.machine.wait_for(lambda: generation(stage) == 1, what="the way back")
    stage.machine.wait_for(lambda: stage.status()["rollout"] is None, what="the end")
    kept.close()


@pytest.mark.thorough
def test_a_generation_that_adopts_instances_keeps_their_socket(stage: Stage) -> None:
    stage.deploy("v1", **UNIX, instances=2)
    before, link = stage.invocations(), named(stage)
    with load(stage) as over_unix:
        assert stage.change("scale", "3").result == "succeeded"
        assert named(stage) == link
        assert answers(stage, 3) == {("1", "1"), ("1", "2"), ("2", "3")}  # the environment is that of the start
        after = stage.invocations()
        assert [after[number].invocation for number in before] == [ran.invocation for ran in before.values()]
        assert stage.change("restart").result == "succeeded"
        assert generation(stage) == 3
        unharmed(over_unix)
    assert {number for number, _ in answers(stage)} == {"3"}


@pytest.mark.thorough
def test_both_generations_serve_while_the_daemon_is_dead(stage: Stage) -> None:
    """The daemon dies in mid-rollout: all instances of the generation to which the address leads accept, and
    connections of the other one are answered."""
    stage.deploy("v1", **UNIX, rollout={"pause_after": [3]})
    with load(stage) as over_unix:
        with stage.machine.connect(SOCKET) as kept:
            assert ask(kept, "keep-alive")["DEPLOYD_GENERATION"] == "1"
            with stage.begin("rollout", "--release", stage.release("v2")) as begun:
                begun.until("instance", state="ready")
                stage.machine.run(["systemctl", "mask", "--runtime", DAEMON])
                kill_daemon(stage)
            there = named(stage)
            found = answers(stage, 2)
            assert len(found) > 1, found
            assert len({number for number, _ in found}) == 1, found
            assert ask(kept, "keep-alive")["DEPLOYD_GENERATION"] == "1"
            assert named(stage) == there
            stage.machine.run(["systemctl", "unmask", "--runtime", DAEMON])
            stage.machine.run(["systemctl", "start", DAEMON])
            stage.machine.wait_for(
                lambda: (stage.status()["rollout"] or {}).get("phase") == "paused", what="the rollout to continue"
            )
            assert generation(stage) == 2
        assert stage.change("resume", "--wait").status == 0
        unharmed(over_unix)
    assert {number for number, _ in answers(stage)} == {"2"}


@pytest.mark.thorough
def test_a_rollback_from_standby_moves_the_link_back(stage: Stage) -> None:
    stage.deploy("v1", **UNIX, rollout=STANDBY)
    first = stage.invocations()
    with stage.load(150, 0, "--unix", SOCKET) as over_unix:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert sorted(stage.status()["standby"]["instances"]) == sorted(first)
        assert sockets(stage) == {1, 2}
        kill_daemon(stage)
        stage.machine.wait_unit(DAEMON)
        stage.machine.wait_for(lambda: stage.status()["standby"], what="standby to be known again")
        assert {number for number, _ in answers(stage)} == {"2"}
        assert stage.change("rollback").result == "succeeded"
        assert generation(stage) == 1
        unharmed(over_unix)
    after = stage.invocations()
    assert {number: ran.pid for number, ran in after.items()} == {number: ran.pid for number, ran in first.items()}
    assert {number for number, _ in answers(stage)} == {"1"}
    stage.machine.wait_for(lambda: sockets(stage) == {1}, what="the end of unused sockets")


@pytest.mark.thorough
def test_an_instance_with_a_connection_that_lasts_is_not_frozen(stage: Stage) -> None:
    stage.deploy("v1", **UNIX, instances=2, rollout=STANDBY)
    with stage.load(50, 1, "--unix", SOCKET) as over_unix:
        stage.machine.wait_for(lambda: over_unix.progress()["requests"] > 10, what="requests")
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        stage.machine.wait_for(
            lambda: len(stage.status()["standby"]["instances"]) == 1, what="the one with the connection to stop"
        )
        unharmed(over_unix)


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["restart", "stop"])
def test_a_socket_that_is_closed_by_hand_is_opened_again(stage: Stage, verb: str) -> None:
    stage.deploy("v1", **UNIX, instances=2)
    before = stage.invocations()
    stage.machine.run(["systemctl", verb, f"{APP}:unix@1.socket"])

    def mended() -> bool:
        items = stage.status()["instances"]
        new = [item["instance"] for item in items if item["invocation_id"] != before[item["instance"]].invocation]
        return sorted(new) == [1, 2] and all(item["ready"] for item in items)

    stage.machine.wait_for(mended, what="both instances to have the new socket")
    assert answers(stage, 2) == {("1", "1"), ("1", "2")}


@pytest.mark.thorough
def test_canaries_and_weights_are_refused_with_unix_addresses_only(stage: Stage) -> None:
    stage.deploy("v1", **UNIX)
    second = stage.release("v2")
    for options in (["--canary", "1"], ["--canary", "5%"]):
        ran = stage.deployd("rollout", APP, "--release", second, *options)
        assert (ran.returncode, "UNIX addresses only" in ran.stderr) == (3, True), ran
    ran = stage.deployd("weight", APP, "1", "50%")
    assert (ran.returncode, "UNIX addresses only" in ran.stderr) == (3, True), ran


@pytest.mark.thorough
def test_a_file_at_the_address_is_reported_and_left_alone(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    before = stage.invocations()
    stage.machine.write(SOCKET, "mine")
    stage.configure(listen=[f"127.0.0.1:{PORT}", SOCKET])
    ended = stage.rollout(stage.release("v2"))
    assert ended.result == "rolled-back", ended
    assert f"{SOCKET} is there already" in str(ended)
    assert stage.machine.read(SOCKET) == "mine"
    assert stage.invocations() == before


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_an_address_may_be_anywhere(stage: Stage) -> None:
    """The daemon need not write there: the socket units do."""
    address = "/srv/demo/shared/a b%i$HOME'.sock"
    stage.deploy("v1", routing="steered", listen=[address], instances=2)
    assert answer(stage, address)["DEPLOYD_GENERATION"] == "1"
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert answer(stage, address)["DEPLOYD_GENERATION"] == "2"
    stage.machine.run(["systemctl", "stop", f"{APP}.service", f"{APP}*.socket"])
    assert not target(stage, address), "no socket is open any more"
    assert stage.rollout(stage.release("v3")).result == "succeeded"
    assert answer(stage, address)["DEPLOYD_GENERATION"] == "3"
    assert stage.deployd("remove", APP).returncode == 0
    assert not target(stage, address)


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_the_first_connection_starts_the_app(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", listen=[SOCKET], instances=2)
    stage.machine.run(["systemctl", "stop", f"{APP}.service"])
    with stage.machine.connect(SOCKET) as connection:
        assert connection.family == socket.AF_UNIX
        connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_after_a_boot_in_mid_rollout_the_address_leads_to_the_most_instances(stage: Stage) -> None:
    """Without the daemon: the sockets open in any order, and /run is empty."""
    stage.deploy("v1", **UNIX, instances=3, rollout={"pause_after": [1]})
    with stage.begin("rollout", "--release", stage.release("v2")) as begun:
        begun.until("paused")
    machine = stage.machine
    machine.run(["systemctl", "stop", DAEMON])
    for order in ((2, 1), (1, 2)):
        machine.run(["systemctl", "stop", f"{APP}.service", *(f"{APP}:unix@{number}.socket" for number in order)])
        machine.run(["rm", "-rf", OWN, SOCKET])
        for number in order:
            machine.run(["systemctl", "start", f"{APP}:unix@{number}.socket"])
        assert generation(stage) == 1, order
    machine.run(["systemctl", "start", f"{APP}.service"])
    machine.run(["systemctl", "start", DAEMON])
    assert generation(stage) == 1
    assert {number for number, _ in answers(stage)} == {"1"}
    assert stage.change("resume", "--wait").result == "succeeded"
    assert generation(stage) == 2
