"""The removal of a steered app and the stop of its instances: what they leave and report."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.host.stage import APP, PORT, Begun, Json, Stage
from tests.host.steered import MAP_BY_ID, PROGRAM_BY_ID, asked, generations, kept, kernel_ids, living, sockets, unharmed

UNITS = "/etc/systemd/system"


def listening(stage: Stage) -> list[str]:
    return stage.machine.run(["ss", "-Hltn", f"sport = :{PORT}"]).stdout.splitlines()


def stopped(begun: Begun, number: int) -> Json:
    return begun.until("instance", state="stopped", instance=number)


def test_remove_leaves_nothing(stage: Stage) -> None:
    assert kept(stage) == 0
    stage.deploy("v1", routing="steered", listen=[f"127.0.0.1:{PORT}", f"[::1]:{PORT}"])
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    maps, programs = kernel_ids(stage)
    assert len(maps) == 6 + 2 * 2  # those of the app, and two of each address: its sockets, and which of them listen
    assert len(programs) == 2
    assert kept(stage) == 6 + 2  # the next daemon finds out which listen
    assert len(listening(stage)) == 8
    assert stage.deployd("remove", APP).returncode == 0
    assert listening(stage) == []
    assert sockets(stage) == set()
    assert not list(Path(stage.machine.path(UNITS)).rglob(f"{APP}*"))
    assert kept(stage) == 0
    assert kernel_ids(stage) == (set(), set())
    stage.machine.wait_for(lambda: not living(PROGRAM_BY_ID, programs), what="the end of the programs")
    stage.machine.wait_for(lambda: not living(MAP_BY_ID, maps), what="the end of the maps")
    stage.deploy("v3")
    assert len(kernel_ids(stage)[0]) == len(maps)
    assert len(generations(stage)) == 1


@pytest.mark.thorough
def test_a_later_daemon_removes_the_app_in_mid_rollout(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "5%") as begun:
        begun.until("paused")
    stage.machine.run(["systemctl", "restart", "deployd.service"])
    maps, programs = kernel_ids(stage)
    assert stage.deployd("remove", APP).returncode == 0
    assert listening(stage) == []
    assert kept(stage) == 0
    stage.machine.wait_for(lambda: not living(PROGRAM_BY_ID, programs), what="the end of the programs")
    stage.machine.wait_for(lambda: not living(MAP_BY_ID, maps), what="the end of the maps")


@pytest.mark.thorough
def test_a_stopped_instance_reports_its_connections(stage: Stage) -> None:
    """One request under way and one keep-alive connection: the stop waits for neither."""
    stage.deploy("v1", routing="steered", instances=1)
    with stage.machine.connect(("127.0.0.1", PORT)) as busy, stage.machine.connect(("127.0.0.1", PORT)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")
        assert idle.recv(65536)
        assert stage.status()["instances"][0]["connections"] == 1  # those on which the client has sent something
        with stage.begin("rollout", "--release", stage.release("v2")) as begun:
            begun.until("instance", state="starting")
            busy.sendall(b"GET /slow?ms=4000 HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            assert stopped(begun, 1)["connections"] == 2
            assert busy.recv(65536).startswith(b"HTTP/1.1 200")
            assert begun.end().result == "succeeded"


@pytest.mark.thorough
def test_a_drain_waits_for_connections_to_end(stage: Stage) -> None:
    """[drain] close_after: a stop waits for them for so long at most."""
    stage.deploy("v1", routing="steered", instances=1, drain={"close_after": "2s"})
    for version, lasting in (("v2", False), ("v3", True)):
        number = stage.status()["instances"][0]["instance"]
        with stage.machine.connect(("127.0.0.1", PORT)) as idle, stage.machine.connect(("127.0.0.1", PORT)) as busy:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")
            assert idle.recv(65536)
            busy.sendall(b"GET /slow?ms=1000 HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            begun_at = time.monotonic()
            with stage.begin("rollout", "--release", stage.release(version)) as begun:
                begun.until("instance", state="stopping")
                if not lasting:
                    idle.close()
                assert busy.recv(65536).startswith(b"HTTP/1.1 200")
                busy.close()
                assert stopped(begun, number)["connections"] == (1 if lasting else 0)
                assert not lasting or time.monotonic() - begun_at >= 2
                assert begun.end().result == "succeeded"


@pytest.mark.thorough
def test_numbers_without_a_slot_are_not_steered(stage: Stage) -> None:
    """The kernel's arrays have room for instances 1 to 1023. Only a pin made by hand has a higher number."""
    stage.deploy("v1", routing="steered", instances=2)
    pins = f"/var/lib/deployd/apps/{APP}/pins"
    stage.machine.run(["cp", "-a", f"{pins}/1", f"{pins}/1024"])
    with stage.load(100, 2) as load:
        stage.machine.run(["systemctl", "start", f"{APP}@1024.service"])
        stage.machine.run(["systemctl", "restart", "deployd.service"])
        found = {item["instance"]: item["weight"] for item in stage.status()["instances"]}
        assert found[1] == found[2] == 50
        assert not found.get(1024)
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert asked(stage) == {2: 100}
        unharmed(load.stop())


@pytest.mark.thorough
def test_a_large_surge(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", rollout={"max_surge": 50})
    with stage.load(100, 2) as load:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        unharmed(load.stop())
    assert generations(stage) == {2}
