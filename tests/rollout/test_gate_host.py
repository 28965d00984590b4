"""READY=1 is the gate: no old instance stops before it, and a release that does not pass it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from deployd.model.remedies import IN_BACKGROUND, WITHOUT_READY
from deployd.systemd.observe import ENDED_EARLY, NOT_READY
from tests.host.stage import APP, INSTANCES, Stage
from tests.host.unit_journal import What, capacity

ALL = range(1, INSTANCES + 1)

SLOW = """\
import os, runpy, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"EXTEND_TIMEOUT_USEC=20000000", os.environ["NOTIFY_SOCKET"])
runpy.run_path("app.py", run_name="__main__")
"""


def test_no_old_instance_stops_before_a_new_one_is_ready(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    stage.journal.restart()
    assert stage.rollout(stage.release("v2", boot=2.0)).result == "succeeded"
    order = [change.what for change in stage.journal.changes() if change.what in (What.STARTED, What.STOPPING)]
    assert order == [What.STARTED, What.STOPPING] * 2


BAD = {
    "never-ready": ("hang", {"timeout": "1s"}, f"{NOT_READY}; {WITHOUT_READY}"),
    "crash-at-boot": ("crash", {}, "exited with status 3 before it was ready"),
    "exit-0-at-boot": ("exit0", {}, f"{ENDED_EARLY}; {IN_BACKGROUND}"),
    "crash-after-ready": ("crash-idle", {"min_ready": "1s"}, "exited with status 5 after it was ready"),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("mode", "gate", "reason"), BAD.values(), ids=BAD)
def test_a_bad_release_affects_no_running_instance(
    stage: Stage, mode: str, gate: Mapping[str, str], reason: str
) -> None:
    stage.deploy("v1", gate=gate)
    before = stage.invocations()
    stage.journal.restart()
    with stage.load(rate=100) as load:
        ended = stage.rollout(stage.release("bad", mode))
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert ended.reason == f"instance 5 {reason}"
    assert ended.stderr.count("\n") == 1
    assert ended.reason in ended.stderr
    assert not record.failed, record.by_outcome()
    assert set(record.generations()) == {1}
    assert stage.invocations() == before
    assert min(capacity(stage.journal.changes(), ALL)) == INSTANCES
    status = stage.status()
    assert (status["generation"], status["ready"], status["rollout"]) == (1, INSTANCES, None)
    assert len(status["instances"]) == INSTANCES
    row = stage.history()[0]
    assert (row["generation"], row["result"], row["reason"], row["replaced"]) == (2, "rolled-back", ended.reason, [])

    stage.configure(gate={})
    ended = stage.rollout(stage.release("v2"))
    assert (ended.status, ended.generation) == (0, 3)
    assert stage.get()["version"] == "v2"


@pytest.mark.thorough
def test_without_surge_the_replaced_instance_is_started_again(stage: Stage) -> None:
    stage.deploy("v1", rollout={"max_surge": 0})
    before = stage.invocations()
    stage.journal.restart()
    with stage.load(rate=100) as load:
        ended = stage.rollout(stage.release("bad", "crash"))
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert not record.failed, record.by_outcome()
    after = stage.invocations()
    assert {ran.generation for ran in after.values()} == {1}
    assert len(after) == INSTANCES
    assert len(set(before.values()) & set(after.values())) == INSTANCES - 1
    assert min(capacity(stage.journal.changes(), ALL)) == INSTANCES - 1


def test_a_release_that_fails_half_way_is_rolled_back(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    release = stage.release("v2", boot=0.3)
    stage.journal.restart()
    with stage.load(rate=100) as load, stage.begin("rollout", "--release", release) as begun:
        begun.until("instance", state="stopped")
        begun.until("instance", state="ready", generation=2)
        stage.release("v2", "crash")
        ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert not record.failed, record.by_outcome()
    assert set(record.generations()) == {1, 2}
    after = stage.invocations()
    assert {ran.generation for ran in after.values()} == {1}
    assert len(after) == INSTANCES
    untouched = set(before.values()) & set(after.values())
    assert 1 <= len(untouched) < INSTANCES
    assert min(capacity(stage.journal.changes(), ALL)) == INSTANCES
    assert stage.history()[0]["replaced"] != []


def paused(stage: Stage) -> str:
    """Roll out a release that crashes, with on_failure = "pause"; return its path."""
    stage.deploy("v1", rollout={"on_failure": "pause"})
    return stage.release("v2", "crash")


def test_on_failure_pause_waits_for_resume(stage: Stage) -> None:
    release = paused(stage)
    before = stage.invocations()
    with stage.begin("rollout", "--release", release) as begun:
        reason = begun.until("paused")["reason"]
        assert reason == "instance 5 exited with status 3 before it was ready"
        begun.until("instance", state="stopped", instance=5)
        rollout = stage.status()["rollout"]
        assert {key: rollout[key] for key in ("phase", "from", "to", "reason")} == {
            "phase": "paused",
            "from": 1,
            "to": 2,
            "reason": reason,
        }
        assert stage.invocations() == before
        assert stage.history()[0]["result"] == "running"
        stage.machine.write(f"{release}/mode", "good\n")  # its code remains as it was when the rollout began
        assert stage.deployd("resume", APP).returncode == 0
        ended = begun.end()
    assert (ended.status, ended.result) == (0, "succeeded")
    assert {ran.generation for ran in stage.invocations().values()} == {2}


@pytest.mark.thorough
def test_on_failure_pause_can_be_aborted(stage: Stage) -> None:
    release = paused(stage)
    before = stage.invocations()
    with stage.begin("rollout", "--release", release) as begun:
        begun.until("paused")
        refused = stage.deployd("rollout", APP)
        assert refused.returncode == 3
        assert "continue it with deployd resume demo, roll it back with deployd abort demo" in refused.stderr
        assert stage.deployd("abort", APP).returncode == 0
        ended = begun.end()
    assert (ended.status, ended.result) == (1, "aborted")
    assert stage.invocations() == before
    assert stage.rollout(stage.release("v3")).result == "succeeded"


@pytest.mark.thorough
def test_a_first_deployment_that_fails_leaves_no_instance_running(stage: Stage) -> None:
    stage.configure(release=stage.release("v1", "crash"))
    ended = stage.change("apply")
    assert (ended.status, ended.result) == (1, "failed"), ended
    assert "exited with status 3 before it was ready" in ended.reason
    assert stage.status()["instances"] == []
    stage.release("v1")
    assert stage.change("apply").result == "succeeded"
    assert stage.get()["generation"] == 2


@pytest.mark.thorough
def test_an_application_may_ask_for_more_time(stage: Stage) -> None:
    """The timeout of the gate is systemd's, and EXTEND_TIMEOUT_USEC= extends it."""
    stage.deploy("v1", instances=1, gate={"timeout": "1s"})
    stage.configure(exec=["/usr/bin/python3", "slow.py"])
    ended = stage.rollout(stage.release("v2", boot=2.0, files={"slow.py": SLOW}))
    assert (ended.status, ended.result) == (0, "succeeded"), ended
