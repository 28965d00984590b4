"""A change of `listen`: the new address is opened alongside the old one, which is closed when it is unused."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.host.faults import BOOT, kill_daemon
from tests.host.stage import APP, INSTANCES, Begun, Ended, Stage
from tests.load.client import Load
from tests.load.record import Outcome, Record, Request

OLD, NEW = ("127.0.0.1", 8080), ("127.0.0.1", 8081)
OLD_LISTEN, NEW_LISTEN = ["127.0.0.1:8080"], ["127.0.0.1:8081"]
FIRST, SECOND, STARTER = f"{APP}.socket", f"{APP}:2.socket", f"{APP}:2.service"
UMBRELLA, TEMPLATE = f"{APP}.service", f"{APP}@.service"
UNITS = "/etc/systemd/system"
MILLISECOND = 0.001
"""Seconds to which the times of events are rounded."""
SURGE = pytest.mark.parametrize("surge", [1, 0], ids=["surge", "in-place"])


def load_on_new(stage: Stage) -> Load:
    return stage.load(100, 4, "--port", str(NEW[1]))


def unit_files(stage: Stage) -> dict[str, tuple[int, str]]:
    """Return the unit files of the app as a whole: inode and text. A file that is written again has another inode."""
    found = [*Path(stage.machine.path(UNITS)).glob(f"{APP}[.:]*"), Path(stage.machine.path(f"{UNITS}/{TEMPLATE}"))]
    return {path.name: (path.stat().st_ino, path.read_text()) for path in found}


def wanted_at_boot(stage: Stage) -> set[str]:
    return {path.name for path in Path(stage.machine.path(f"{UNITS}/sockets.target.wants")).glob(f"{APP}[.:]*")}


def listening(stage: Stage) -> list[str]:
    """Return the TCP addresses that have a listener."""
    lines = stage.machine.run(["ss", "--no-header", "--listening", "--tcp", "--numeric"]).stdout.splitlines()
    return sorted(line.split()[3] for line in lines)


def refused(stage: Stage, address: tuple[str, int]) -> bool:
    try:
        stage.machine.connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


def last_stop(ended: Ended) -> float:
    """Return the time before the last stop of an instance (CLOCK_MONOTONIC, as in the load). In the second pass after
    a change of `listen` that is the last instance that accepts connections on the old address."""
    times = [event["time"] for event in ended.events if event.get("state") == "stopping"]
    return datetime.fromisoformat(times[-1]).timestamp() - (time.time() - time.monotonic()) - MILLISECOND


def failed_before(record: Record, when: float) -> list[Request]:
    return [request for request in record.failed if request.end < when]


def check_changed(stage: Stage, ended: Ended, old: Load, new: Load | None) -> None:
    """Check that the app listens on 8081 instead of 8080, and that no other client noticed."""
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    generation = ended.generation
    record = old.stop()
    assert not failed_before(record, last_stop(ended)), record.by_outcome()
    assert refused(stage, OLD)
    assert listening(stage) == ["127.0.0.1:8081"]
    if new is not None:
        record = new.stop()
        assert len(record)
        assert not record.failed, record.by_outcome()
    ran = stage.invocations()
    assert [item.generation for item in ran.values()] == [generation] * INSTANCES
    assert unit_files(stage).keys() == {SECOND, STARTER, UMBRELLA, TEMPLATE}
    assert wanted_at_boot(stage) == {SECOND}
    for number in ran:
        _, environment = stage.process(number)
        assert (environment["LISTEN_FDS"], environment["LISTEN_FDNAMES"]) == ("1", FIRST)
    assert stage.machine.run(["systemctl", "--failed", "--quiet"]).stdout == ""
    diff = stage.deployd("units", APP, "--diff")
    assert (diff.returncode, diff.stdout) == (0, ""), diff


@SURGE
def test_one_address_replaces_another(stage: Stage, surge: int) -> None:
    stage.deploy("v1", listen=OLD_LISTEN, rollout={"max_surge": surge})
    before = unit_files(stage)[FIRST]
    stage.configure(listen=NEW_LISTEN)
    diff = stage.deployd("units", APP, "--diff").stdout
    assert "+ListenStream=127.0.0.1:8081" in diff
    assert "-ListenStream=127.0.0.1:8080" in diff
    plan = stage.json("plan", APP)
    with stage.load(100, 4) as old, stage.begin("apply") as begun:
        begun.until("instance", state="starting")
        with load_on_new(stage) as new:
            begun.until("instance", state="ready")
            assert unit_files(stage)[FIRST] == before
            begun.until("closing")
            ended = begun.end()
            check_changed(stage, ended, old, new)
    verbs = {"starting": "start", "stopping": "stop"}
    happened = [
        (verbs[event["state"]], event["instance"])
        for event in ended.events
        if event["event"] == "instance" and event["state"] in verbs
    ]
    assert happened == [(action["action"], action["instance"]) for action in plan["actions"]]
    assert plan["floor"] == INSTANCES - (surge == 0)


def test_an_additional_address_closes_nothing_and_can_be_removed(stage: Stage) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    before, since = unit_files(stage), stage.show(FIRST, "ActiveEnterTimestampMonotonic", "InvocationID")
    stage.configure(listen=[*OLD_LISTEN, *NEW_LISTEN])
    with stage.load(100, 4) as old:
        ended = stage.change("apply")
        assert ended.result == "succeeded", ended
        assert "closing" not in [event["event"] for event in ended.events]
        assert len(ended.instances("starting")) == INSTANCES
        assert listening(stage) == ["127.0.0.1:8080", "127.0.0.1:8081"]
        assert wanted_at_boot(stage) == {FIRST, SECOND}
        for number in stage.invocations():
            _, environment = stage.process(number)
            assert (environment["LISTEN_FDS"], environment["LISTEN_FDNAMES"]) == ("2", f"{FIRST}:{FIRST}")

        stage.configure(listen=OLD_LISTEN)
        with load_on_new(stage) as new:
            ended = stage.change("apply")
            record = new.stop()
        assert ended.result == "succeeded", ended
        assert "closing" in [event["event"] for event in ended.events]
        assert not failed_before(record, last_stop(ended)), record.by_outcome()
        assert refused(stage, NEW)
        record = old.stop()
    assert not record.failed, record.by_outcome()
    assert unit_files(stage).keys() == before.keys()
    assert unit_files(stage)[FIRST] == before[FIRST]
    assert stage.show(FIRST, "ActiveEnterTimestampMonotonic", "InvocationID") == since
    assert wanted_at_boot(stage) == {FIRST}


def test_a_unix_socket_replaces_a_port(stage: Stage) -> None:
    path = "/run/demo/http.sock"
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=[path])
    with stage.load(100, 4) as old, stage.begin("apply") as begun:
        begun.until("instance", state="starting")
        with stage.load(100, 4, "--unix", path) as new:
            ended = begun.end()
            assert ended.result == "succeeded", ended
            record = new.stop()
        assert not record.failed, record.by_outcome()
        record = old.stop()
    assert not failed_before(record, last_stop(ended)), record.by_outcome()
    assert refused(stage, OLD)
    assert listening(stage) == []


def test_a_rollback_opens_the_old_address_again(stage: Stage) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=NEW_LISTEN)
    assert stage.change("apply").result == "succeeded"
    with load_on_new(stage) as load:
        ended = stage.change("rollback")
        record = load.stop()
    assert ended.result == "succeeded", ended
    assert not failed_before(record, last_stop(ended)), record.by_outcome()
    assert refused(stage, NEW)
    assert stage.get()["generation"] == 3
    assert listening(stage) == ["127.0.0.1:8080"]


def test_an_address_in_use_changes_nothing(stage: Stage) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    before, ran = unit_files(stage), stage.invocations()
    stage.configure(listen=NEW_LISTEN)
    with stage.load(100, 4) as load:
        with stage.machine.popen(
            ["/usr/bin/python3", "-m", "http.server", "--bind", *map(str, NEW)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONUNBUFFERED": "1"},
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline()
            ended = stage.change("apply")
            other.kill()
        assert (ended.status, ended.result) == (1, "rolled-back"), ended
        assert f"{SECOND} could not listen" in ended.reason
        assert unit_files(stage) == before
        assert stage.invocations() == ran
        assert wanted_at_boot(stage) == {FIRST}
        assert stage.machine.run(["systemctl", "--failed", "--quiet"]).stdout == ""
        assert not ended.instances("starting")
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert stage.change("apply").result == "succeeded"
    assert listening(stage) == ["127.0.0.1:8081"]


def test_a_first_address_in_use_can_be_changed(stage: Stage) -> None:
    stage.machine.write(f"{UNITS}/other.socket", "[Socket]\nListenStream=127.0.0.1:8081\nService=other.service\n")
    stage.machine.write(f"{UNITS}/other.service", "[Service]\nExecStart=/bin/true\n")
    stage.machine.run(["systemctl", "daemon-reload"])
    stage.machine.run(["systemctl", "start", "other.socket"])
    stage.configure(release=stage.release("v1"), listen=NEW_LISTEN)
    ended = stage.change("apply")
    assert ended.result == "failed"
    assert f"{FIRST} could not listen" in ended.reason
    stage.configure(listen=OLD_LISTEN)
    assert stage.change("apply").result == "succeeded"
    assert unit_files(stage).keys() == {FIRST, UMBRELLA, TEMPLATE}
    assert wanted_at_boot(stage) == {FIRST}
    assert stage.get()["version"] == "v1"


def test_the_address_of_a_bad_release_is_closed(stage: Stage) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    before, ran = unit_files(stage), stage.invocations()
    stage.configure(listen=NEW_LISTEN, release=stage.release("bad", mode="crash"))
    with stage.load(100, 4) as load:
        ended = stage.change("apply")
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert not record.failed, record.by_outcome()
    assert stage.invocations() == ran
    assert listening(stage) == ["127.0.0.1:8080"]
    after = unit_files(stage)
    assert after.keys() == before.keys()
    assert after[FIRST] == before[FIRST]
    assert after[TEMPLATE][1] == before[TEMPLATE][1]
    assert SECOND not in after[UMBRELLA][1]
    assert wanted_at_boot(stage) == {FIRST}


def test_a_failure_in_the_second_pass_is_rolled_back(stage: Stage) -> None:
    """Instances with the new address only do not start."""
    run = '#!/bin/sh\n[ "$DEPLOYD_GENERATION$LISTEN_FDS" != 21 ] || exit 7\nexec /usr/bin/python3 app.py\n'
    stage.configure(release=stage.release("v1", files={"run": run}), exec=["./run"], listen=OLD_LISTEN)
    assert stage.change("apply").result == "succeeded"
    stage.configure(listen=NEW_LISTEN)
    with stage.load(100, 4) as load:
        ended = stage.change("apply")
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert "closing" in [event["event"] for event in ended.events]
    assert "exited with status 7" in ended.reason
    assert not record.failed, record.by_outcome()
    assert {item.generation for item in stage.invocations().values()} == {1}
    assert listening(stage) == ["127.0.0.1:8080"]
    assert wanted_at_boot(stage) == {FIRST}


def test_an_abort_when_the_old_address_has_closed_opens_it_again(stage: Stage) -> None:
    """The last instance with the old address is still busy, so that the rollout can be aborted."""
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=NEW_LISTEN, release=stage.release("v2", handler_ms=2000))
    with stage.load(20, 0, "--timeout", "30") as load, stage.begin("apply") as begun:
        begun.until("closing")
        for _ in range(INSTANCES):
            begun.until("instance", state="stopping")
        assert FIRST not in unit_files(stage)
        assert stage.deployd("abort", APP).returncode == 0
        ended = begun.end()
        record = load.stop()
    assert ended.result == "aborted", ended
    assert set(record.by_outcome()) <= {Outcome.OK, Outcome.REFUSED}, record.by_outcome()
    assert stage.get()["generation"] == 1
    assert listening(stage) == OLD_LISTEN
    assert [ran.generation for ran in stage.invocations().values()] == [1] * INSTANCES


POINTS = {
    "begun": [{"event": "started"}],
    "starting": [{"event": "instance", "state": "starting"}],
    "closing": [{"event": "closing"}],
    "second-pass": [{"event": "closing"}, {"event": "instance", "state": "starting"}],
    "last": [{"event": "closing"}, *[{"event": "instance", "state": "stopping"}] * INSTANCES],
    "closed": [{"event": "closing"}, *[{"event": "instance", "state": "stopped"}] * INSTANCES],
}
"""Events to wait for, one after another."""


def reach(begun: Begun, point: str) -> None:
    for event in POINTS[point]:
        begun.until(**event)  # type: ignore[arg-type]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_daemon_finishes_when_it_is_back(stage: Stage, point: str) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=NEW_LISTEN, release=stage.release("v2", boot=BOOT))
    with stage.load(100, 4) as old, stage.begin("apply") as begun:
        reach(begun, point)
        kill_daemon(stage)
        check_changed(stage, begun.end(), old, None)


def test_a_stop_by_hand_during_the_change_leads_back_to_the_old_address(stage: Stage) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    before = unit_files(stage)
    stage.configure(listen=NEW_LISTEN, release=stage.release("v2", boot=BOOT))
    with stage.begin("apply") as begun:
        begun.until("instance", state="stopped")
        stage.machine.run(["systemctl", "stop", UMBRELLA])
        ended = begun.end()
    assert ended.result == "aborted", ended
    assert refused(stage, NEW)
    assert {name: text for name, (_, text) in unit_files(stage).items()} == {
        name: text for name, (_, text) in before.items()
    }
    assert stage.get()["generation"] == 1
    stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, what="all instances")
    assert listening(stage) == ["127.0.0.1:8080"]
    for number in stage.invocations():
        assert stage.process(number)[1]["LISTEN_FDS"] == "1"


def test_a_connection_to_a_later_address_starts_the_app(stage: Stage) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=NEW_LISTEN)
    assert stage.change("apply").result == "succeeded"
    stage.machine.run(["systemctl", "stop", APP])
    for number in range(1, INSTANCES + 1):  # systemctl waits for the app unit only
        stage.machine.wait_unit(f"{APP}@{number}.service", "inactive")
    with load_on_new(stage) as load:
        stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, what="all instances")
        record = load.stop()
    assert not record.failed, record.by_outcome()
    stage.machine.run(["systemctl", "stop", APP])
    stage.machine.wait_unit(STARTER, "inactive")
    stage.machine.run(["systemctl", "start", APP])
    stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, what="all instances")
    assert stage.machine.run(["systemctl", "--failed", "--quiet"]).stdout == ""


def test_remove_closes_every_socket(stage: Stage) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=NEW_LISTEN, release=stage.release("v2", barrier=True))
    with stage.begin("apply") as begun:
        begun.until("instance", state="starting")
        assert listening(stage) == ["127.0.0.1:8080", "127.0.0.1:8081"]
        assert stage.deployd("pause", APP).returncode == 0
        assert stage.deployd("remove", APP).returncode == 0
    assert listening(stage) == []
    assert wanted_at_boot(stage) == set()
    assert not list(Path(stage.machine.path(UNITS)).glob(f"{APP}[.:@]*"))


def test_impossible_changes_are_refused_with_advice(stage: Stage) -> None:
    stage.deploy("v1", listen=[*OLD_LISTEN, *NEW_LISTEN])
    before, ran = unit_files(stage), stage.invocations()
    stage.configure(listen=NEW_LISTEN)
    for argv in (["apply", APP], ["units", APP]):
        done = stage.deployd(*argv)
        assert done.returncode == 3
        assert "drops 127.0.0.1:8080 and keeps 127.0.0.1:8081" in done.stderr
        assert f"deployd remove {APP} and apply it again" in done.stderr
    stage.configure(listen=[*OLD_LISTEN, *NEW_LISTEN], socket={"Backlog": 7})
    done = stage.deployd("apply", APP)
    assert done.returncode == 3
    assert f"[socket] of {APP} changed" in done.stderr
    assert (unit_files(stage), stage.invocations()) == (before, ran)
