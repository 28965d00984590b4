"""How long instances take until they are ready: it is shown, and a gate timeout that the file leaves out follows it."""

from __future__ import annotations

from tests.host.stage import APP, INSTANCES, Stage
from tests.host.test_gate import SLOW

UNKNOWN, FLOOR = 60.0, 30.0
SLOW_BOOT = 7.6
"""Seconds; four times as long is more than the floor."""


def installed(stage: Stage, number: int = 1) -> str:
    """The timeout that systemd has for an instance."""
    return stage.show(f"{APP}@{number}.service", "TimeoutStartUSec")["TimeoutStartUSec"]


def test_boot_times_are_shown_and_learned_from(stage: Stage) -> None:
    stage.release("v1", boot=0.3)
    stage.configure(release="/srv/demo/v1")
    assert stage.change("apply").result == "succeeded"
    status = stage.status()
    assert (status["gate_timeout"], status["gate_timeout_learned"]) == (UNKNOWN, True)
    assert status["boot"]["count"] == INSTANCES
    assert 0.3 <= status["boot"]["median"] <= status["boot"]["max"] < UNKNOWN
    assert all(0.3 <= item["boot"] <= status["boot"]["max"] for item in status["instances"])
    assert stage.history()[0]["boot"] == status["boot"]
    assert installed(stage) == "1min"

    before = stage.invocations()
    ended = stage.change("apply")
    assert (ended.status, ended.finished["reason"]) == (0, "nothing to do"), ended
    assert stage.invocations() == before
    assert installed(stage) == "1min"

    release = stage.release("v2", boot=0.3)
    with stage.begin("rollout", "--release", release) as begun:
        begun.until("instance", state="stopping")
        own = [path.name for path in stage.machine.path("/etc/systemd/system").glob(f"{APP}@?*.service")]
        assert own == []
        assert begun.end().result == "succeeded"
    status = stage.status()
    assert (status["gate_timeout"], status["gate_timeout_learned"], status["boot"]["count"]) == (FLOOR, True, 8)
    assert installed(stage) == "30s"
    assert [row["boot"]["count"] for row in stage.history()] == [INSTANCES] * 2

    stage.configure(gate={"timeout": "45s"}, release=release)
    assert stage.change("apply").result == "succeeded"
    status = stage.status()
    assert (status["gate_timeout"], status["gate_timeout_learned"]) == (45.0, False)
    assert installed(stage) == "45s"


def test_slow_boots_make_it_longer(stage: Stage) -> None:
    stage.release("v1", boot=SLOW_BOOT)
    stage.configure(release="/srv/demo/v1", instances=1)
    assert stage.change("apply").result == "succeeded"
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert stage.status()["gate_timeout"] == 60.0


def test_an_application_may_ask_for_more_than_was_learned(stage: Stage) -> None:
    stage.deploy("v1", instances=1)
    stage.configure(exec=["/usr/bin/python3", "slow.py"])
    late = SLOW.replace("EXTEND_TIMEOUT_USEC=20000000", "EXTEND_TIMEOUT_USEC=40000000")
    ended = stage.rollout(stage.release("v2", boot=FLOOR + 1, files={"slow.py": late}))
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    status = stage.status()
    assert status["gate_timeout"] == FLOOR
    assert status["boot"]["max"] > FLOOR
    stage.configure(exec=["/usr/bin/python3", "app.py"])
    assert stage.rollout(stage.release("v3")).result == "succeeded"
    assert stage.status()["gate_timeout"] == 300.0
