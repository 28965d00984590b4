"""A change of `listen` that fails, or during which something else stops."""

from __future__ import annotations

import subprocess

import pytest

from tests.host.faults import BOOT, kill_daemon
from tests.host.stage import APP, INSTANCES, Stage
from tests.load.record import Outcome
from tests.units.listen_change import (
    FIRST,
    NEW,
    NEW_LISTEN,
    OLD_LISTEN,
    POINTS,
    SECOND,
    TEMPLATE,
    UMBRELLA,
    UNITS,
    check_changed,
    listening,
    reach,
    refused,
    unit_files,
    wanted_at_boot,
)


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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.sampled
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_daemon_finishes_when_it_is_back(stage: Stage, point: str) -> None:
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=NEW_LISTEN, release=stage.release("v2", boot=BOOT))
    with stage.load(100, 4) as old, stage.begin("apply") as begun:
        reach(begun, point)
        kill_daemon(stage)
        check_changed(stage, begun.end(), old, None)


@pytest.mark.thorough
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
