"""Standby on a real host: a rollback boots no instance, and frozen instances never interfere."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from tests.host.network import Connection
from tests.host.stage import APP, INSTANCES, PORT, RELEASES, Stage
from tests.host.unit_journal import What

STANDBY = {"standby": "10min"}


def deploy_two(stage: Stage, **rollout: object) -> None:
    """Deploy two generations: 2 serves, 1 is in standby."""
    stage.deploy("v1", routing="steered", rollout=STANDBY | rollout)
    ended = stage.rollout(stage.release("v2"))
    assert ended.result == "succeeded", ended


def processes(stage: Stage, numbers: list[int]) -> dict[int, tuple[int, str]]:
    """Return the main process of each instance and its state in the kernel; T is stopped."""
    found = {}
    for number in numbers:
        pid = stage.pid(number)
        text = stage.machine.read(f"/proc/{pid}/stat") if pid else ") -"
        found[number] = pid, text.rpartition(") ")[2][0]
    return found


def test_replaced_instances_go_to_standby_and_a_rollback_starts_none(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", rollout=STANDBY)
    first = stage.invocations()
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    status = stage.status()
    assert (status["ready"], status["standby"]["generation"]) == (INSTANCES, 1)
    assert status["standby"]["instances"] == sorted(first)
    assert status["standby"]["until"]
    assert {state for _, state in processes(stage, sorted(first)).values()} == {"T"}
    assert {stage.get()["version"] for _ in range(20)} == {"v2"}
    stage.journal.restart()
    with stage.load(rate=200, keepalive=0) as load:
        assert stage.change("rollback").result == "succeeded"
        record = load.stop()
    assert not record.failed, record.by_outcome()
    begun = [change for change in stage.journal.changes() if change.what in (What.STARTING, What.STARTED)]
    assert begun == [], "no instance booted"
    after = stage.invocations()
    assert {n: (ran.pid, ran.invocation) for n, ran in after.items()} == {
        n: (ran.pid, ran.invocation) for n, ran in first.items()
    }
    assert {stage.get()["version"] for _ in range(20)} == {"v1"}
    assert stage.status()["standby"] is None


def kept(stage: Stage, opened: ExitStack) -> dict[int, list[Connection]]:
    """Open idle connections to each instance, by number."""
    found: dict[int, list[Connection]] = {}
    for _ in range(2 * INSTANCES):
        connection = opened.enter_context(stage.machine.connect(("127.0.0.1", PORT)))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")
        body = connection.recv(65536).partition(b"\r\n\r\n")[2]
        found.setdefault(json.loads(body)["instance"], []).append(connection)
    assert len(found) == INSTANCES, found.keys()
    return found


@pytest.mark.thorough
def test_idle_connections_do_not_keep_instances_from_standby(stage: Stage) -> None:
    """They end in standby, where no rollout waits for them, and are closed as by a server: clients see the end."""
    stage.deploy("v1", routing="steered", rollout=STANDBY)
    first = stage.invocations()
    with ExitStack() as opened:
        connections = kept(stage, opened)
        with stage.load(rate=100, keepalive=0) as load:
            assert stage.rollout(stage.release("v2")).result == "succeeded"
            assert stage.status()["standby"]["instances"] == sorted(first)
            running = [number for number, (_, state) in processes(stage, sorted(first)).items() if state != "T"]
            assert running, "the rollout waited for the connections"
            stage.machine.wait_for(
                lambda: {state for _, state in processes(stage, sorted(first)).values()} == {"T"},
                what="the instances to be frozen",
                timeout=60,
            )
            record = load.stop()
        assert not record.failed, record.by_outcome()
        assert {connection.recv(1) for found in connections.values() for connection in found} == {b""}
        assert stage.change("rollback").result == "succeeded"
    after = stage.invocations()
    assert {n: ran.invocation for n, ran in after.items()} == {n: ran.invocation for n, ran in first.items()}


@pytest.mark.thorough
def test_an_instance_with_a_request_in_flight_is_stopped_and_finishes_it(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", rollout=STANDBY)
    with ExitStack() as opened:
        number, (busy, *_) = next(iter(kept(stage, opened).items()))
        # Long enough for a slow machine to try to freeze the instance meanwhile, which is five seconds after its drain.
        busy.sendall(b"GET /slow?ms=20000 HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert busy.recv(65536).startswith(b"HTTP/1.1 200")
    stage.machine.wait_unit(f"{APP}@{number}.service", "inactive")
    stage.machine.wait_for(lambda: number not in stage.status()["standby"]["instances"], what="the end of its record")


@pytest.mark.thorough
def test_a_refused_rollback_returns_instances_to_standby(stage: Stage) -> None:
    """They are thawed before the rollback is checked."""
    deploy_two(stage)
    numbers = stage.status()["standby"]["instances"]
    stage.machine.write(f"{RELEASES}/v1/VERSION", "changed\n")
    refused = stage.deployd("rollback", APP, "--to", "1")
    assert (refused.returncode, "changed" in refused.stderr) == (3, True), refused
    stage.machine.wait_for(
        lambda: {state for _, state in processes(stage, numbers).values()} == {"T"}, what="the instances to be frozen"
    )
    standby = stage.machine.wait_for(lambda: stage.status()["standby"], what="standby to be reported")
    assert (standby["generation"], standby["instances"]) == (1, numbers)
    assert {stage.get()["version"] for _ in range(20)} == {"v2"}


def test_a_killed_daemon_finds_its_standby_instances(stage: Stage) -> None:
    deploy_two(stage)
    before = stage.status()["standby"]
    stage.machine.run(["systemctl", "kill", "--signal=SIGKILL", "deployd.service"])
    after = stage.machine.wait_for(lambda: stage.status()["standby"], what="standby to be known again")
    assert (after["generation"], after["instances"]) == (before["generation"], before["instances"])
    assert after["until"][:19] == before["until"][:19]


@pytest.mark.thorough
def test_standby_ends_at_its_time_limit(stage: Stage) -> None:
    deploy_two(stage, standby="2s")
    stage.machine.wait_for(lambda: stage.status()["standby"] is None, what="standby to end")
    status = stage.status()
    assert [item["generation"] for item in status["instances"]] == [2] * INSTANCES
    assert stage.rollout(stage.release("v3")).result == "succeeded"


@pytest.mark.thorough
def test_the_next_rollout_replaces_standby(stage: Stage) -> None:
    deploy_two(stage)
    assert stage.rollout(stage.release("v3")).result == "succeeded"
    assert stage.status()["standby"]["generation"] == 2
    assert {item["generation"] for item in stage.status()["instances"]} == {2, 3}


@pytest.mark.thorough
def test_the_record_of_an_instance_killed_in_standby_is_removed(stage: Stage) -> None:
    """As by the OOM killer. It has no pin, so the old release does not serve again."""
    deploy_two(stage)
    first, *rest = stage.status()["standby"]["instances"]
    stage.machine.run(["kill", "-KILL", str(stage.pid(first))])
    stage.machine.wait_for(lambda: stage.status()["standby"]["instances"] == rest, what="the record to be removed")
    stage.machine.wait_unit(f"{APP}@{first}.service", "inactive")
    assert stage.status()["ready"] == INSTANCES
    assert stage.change("rollback").result == "succeeded"
    assert {item["release"] for item in stage.status()["instances"]} == {"/srv/demo/v1"}


@pytest.mark.thorough
def test_stopping_the_app_stops_standby_instances(stage: Stage) -> None:
    deploy_two(stage)
    stage.machine.run(["systemctl", "stop", f"{APP}.service"])
    for number in range(1, 2 * INSTANCES + 1):
        stage.machine.wait_unit(f"{APP}@{number}.service", "inactive")


@pytest.mark.thorough
def test_an_app_with_a_watchdog_has_no_standby(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", rollout=STANDBY, service={"WatchdogSec": "1h"})
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert stage.status()["standby"] is None


@pytest.mark.thorough
def test_after_a_reboot_the_new_generation_serves_without_standby(own_stage: Stage) -> None:
    """Replaced instances must not start at boot."""
    deploy_two(own_stage)
    aside = own_stage.status()["standby"]["instances"]
    own_stage.machine.run(["systemctl", "mask", "deployd.service"])
    own_stage.close()
    own_stage.machine.reboot(clean=False)
    own_stage.machine.wait_unit(f"{APP}.service")
    listing = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", f"{APP}@*.service"]
    own_stage.machine.wait_for(
        lambda: len(own_stage.machine.run(listing).stdout.splitlines()) == INSTANCES, what="all instances"
    )
    up = own_stage.machine.run(listing).stdout
    assert not [number for number in aside if f"{APP}@{number}.service" in up]
    own_stage.machine.run(["systemctl", "unmask", "deployd.service"])
    own_stage.machine.run(["systemctl", "start", "deployd.service"])
    status = own_stage.status()
    assert (status["generation"], status["ready"], status["standby"]) == (2, INSTANCES, None)
    assert own_stage.change("rollback").result == "succeeded"
    assert own_stage.get()["version"] == "v1"


@pytest.mark.thorough
def test_standby_does_not_keep_a_dropped_address_open(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", rollout=STANDBY, listen=["127.0.0.1:8080", "127.0.0.1:8081"])
    stage.configure(listen=["127.0.0.1:8080"])
    assert stage.change("apply").result == "succeeded"
    status = stage.status()
    assert (status["standby"], {item["generation"] for item in status["instances"]}) == (None, {2})
