"""A change of `listen`: the new address is opened alongside the old one, which is closed when it is unused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.stage import APP, INSTANCES, Stage
from tests.units.listen_change import (
    FIRST,
    NEW,
    NEW_LISTEN,
    OLD,
    OLD_LISTEN,
    SECOND,
    STARTER,
    UNITS,
    check_changed,
    failed_too_early,
    listening,
    load_on_new,
    refused,
    unit_files,
    wanted_at_boot,
)

SURGE = pytest.mark.parametrize("surge", [1, 0], ids=["surge", "in-place"])


@pytest.mark.sampled
@SURGE
def test_one_address_replaces_another(stage: Stage, surge: int) -> None:
    stage.deploy("v1", listen=OLD_LISTEN, rollout={"max_surge": surge})
    before = unit_files(stage)[FIRST]
    stage.configure(listen=NEW_LISTEN, release=stage.release("v2", barrier=True))
    diff = stage.deployd("units", APP, "--diff").stdout
    assert "+ListenStream=127.0.0.1:8081" in diff
    assert "-ListenStream=127.0.0.1:8080" in diff
    plan = stage.json("plan", APP)
    with stage.load(100, 4) as old, stage.begin("apply") as begun:
        stage.admit(begun.until("instance", state="starting")["instance"])
        with load_on_new(stage) as new:
            begun.until("instance", state="ready")
            assert unit_files(stage)[FIRST] == before
            stage.admit()
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


@pytest.mark.thorough
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
        assert not failed_too_early(stage, SECOND, record, ended), record.by_outcome()
        assert refused(stage, NEW)
        record = old.stop()
    assert not record.failed, record.by_outcome()
    assert unit_files(stage).keys() == before.keys()
    assert unit_files(stage)[FIRST] == before[FIRST]
    assert stage.show(FIRST, "ActiveEnterTimestampMonotonic", "InvocationID") == since
    assert wanted_at_boot(stage) == {FIRST}


@pytest.mark.thorough
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
    assert not failed_too_early(stage, FIRST, record, ended), record.by_outcome()
    assert refused(stage, OLD)
    assert listening(stage) == []


@pytest.mark.thorough
def test_a_rollback_opens_the_old_address_again(stage: Stage) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=NEW_LISTEN)
    assert stage.change("apply").result == "succeeded"
    with load_on_new(stage) as load:
        ended = stage.change("rollback")
        record = load.stop()
    assert ended.result == "succeeded", ended
    assert not failed_too_early(stage, SECOND, record, ended), record.by_outcome()
    assert refused(stage, NEW)
    assert stage.get()["generation"] == 3
    assert listening(stage) == ["127.0.0.1:8080"]


@pytest.mark.thorough
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
