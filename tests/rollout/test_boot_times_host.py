"""Boot times: they are shown, and a gate timeout that the app file omits is derived from them."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, INSTANCES, Stage

FLOOR = 60.0
PAST = """
import sqlite3
with sqlite3.connect("/var/lib/deployd/history.sqlite") as db:
    db.execute("UPDATE invocations SET boot = 20.0 WHERE instance = 1")
"""
"""Records one slow boot, so that the test need not wait for it."""


def installed(stage: Stage, number: int = 1) -> str:
    """Return the start timeout that systemd has for an instance."""
    return stage.show(f"{APP}@{number}.service", "TimeoutStartUSec")["TimeoutStartUSec"]


def test_boot_times_are_shown_and_set_the_timeout(stage: Stage) -> None:
    stage.release("v1", boot=0.3)
    stage.configure(release="/srv/demo/v1")
    assert stage.change("apply").result == "succeeded"
    status = stage.status()
    assert (status["gate_timeout"], status["gate_timeout_learned"]) == (FLOOR, True)
    assert status["boot"]["count"] == INSTANCES
    assert 0.3 <= status["boot"]["median"] <= status["boot"]["max"] < FLOOR
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
    assert installed(stage) == "1min"
    assert [row["boot"]["count"] for row in stage.history()] == [INSTANCES] * 2

    stage.configure(gate={"timeout": "45s"}, release=release)
    assert stage.change("apply").result == "succeeded"
    status = stage.status()
    assert (status["gate_timeout"], status["gate_timeout_learned"]) == (45.0, False)
    assert installed(stage) == "45s"


@pytest.mark.thorough
def test_slow_boots_raise_the_timeout_which_alone_is_no_change_to_apply(stage: Stage) -> None:
    stage.deploy("v1")
    stage.machine.run(["python3", "-c", PAST])
    before = stage.invocations()
    ended = stage.change("apply")
    assert (ended.status, ended.finished["reason"]) == (0, "nothing to do"), ended
    assert stage.invocations() == before
    release = stage.release("v2")
    with stage.begin("rollout", "--release", release) as begun:
        begun.until("instance", state="stopping")
        own = [path.name for path in stage.machine.path("/etc/systemd/system").glob(f"{APP}@?*.service")]
        assert own == [], "the old instances need no units of their own for that"
        assert begun.end().result == "succeeded"
    assert stage.status()["gate_timeout"] == 120.0
    assert installed(stage) == "2min"
