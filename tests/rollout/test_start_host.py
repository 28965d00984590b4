"""How an app starts: by `deployd apply`, by its first connection, and again after it was stopped."""

from __future__ import annotations

import subprocess

import pytest

from tests.host.stage import APP, INSTANCES, RELEASES, Stage

APP_UNIT = f"{APP}.service"


def up(stage: Stage) -> bool:
    return bool(stage.status()["ready"] == INSTANCES)


def test_apply_deploys_for_the_first_time(stage: Stage) -> None:
    ended = stage.deploy("v1")
    assert ended.events[0]["event"] == "started"
    assert sorted(ended.instances("ready")) == [(number, 1) for number in range(1, INSTANCES + 1)]
    answer = stage.get()
    assert (answer["generation"], answer["version"], answer["release"]) == (1, "v1", f"{RELEASES}/v1")
    status = stage.status()
    assert (status["generation"], status["desired"], status["ready"], status["rollout"]) == (1, 4, 4, None)
    [row] = stage.history()
    assert (row["cause"], row["result"], row["replaced"], row["adopted"]) == ("apply", "succeeded", [], [])
    for unit in (f"{APP}.socket", APP_UNIT):
        shown = stage.show(unit, "ActiveState", "UnitFileState")
        assert shown == {"ActiveState": "active", "UnitFileState": "enabled"}, unit
    assert stage.machine.run(["systemctl", "--failed", "--quiet"]).stdout == ""


def test_the_first_connection_starts_the_app(stage: Stage) -> None:
    stage.configure(release=stage.release("v1"))
    assert stage.change("apply", "--no-start").status == 0
    assert stage.show(f"{APP}.socket", "ActiveState")["ActiveState"] == "active"
    assert stage.show(APP_UNIT, "ActiveState")["ActiveState"] == "inactive"
    assert stage.status()["ready"] == 0
    assert stage.get()["generation"] == 1
    stage.machine.wait_for(lambda: up(stage), what="all instances ready")
    assert {ran.generation for ran in stage.invocations().values()} == {1}


@pytest.mark.thorough
def test_all_of_a_burst_of_first_connections_are_answered(stage: Stage) -> None:
    stage.configure(release=stage.release("v1", boot=0.3))
    assert stage.change("apply", "--no-start").status == 0
    with stage.load(rate=200, keepalive=8) as load:
        stage.machine.wait_for(lambda: up(stage), what="all instances ready")
        record = load.stop()
    assert not record.failed, record.by_outcome()


@pytest.mark.thorough
def test_a_stopped_app_is_started_by_a_connection(stage: Stage) -> None:
    stage.deploy("v1")
    stage.machine.run(["systemctl", "stop", APP])
    for number in range(1, INSTANCES + 1):  # systemctl waits for the app unit only
        stage.machine.wait_unit(f"{APP}@{number}.service", "inactive")
    assert stage.show(f"{APP}.socket", "ActiveState")["ActiveState"] == "active"
    status = stage.status()
    assert (status["generation"], status["ready"]) == (1, 0)
    assert stage.get()["generation"] == 1
    stage.machine.wait_for(lambda: up(stage), what="all instances ready")


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["start", "restart"])
def test_systemctl_acts_on_the_whole_app(stage: Stage, verb: str) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    if verb == "start":
        stage.machine.run(["systemctl", "stop", APP])
    stage.machine.run(["systemctl", verb, APP])
    stage.machine.wait_for(lambda: up(stage), what="all instances ready")
    after = stage.invocations()
    assert {number: ran.generation for number, ran in after.items()} == dict.fromkeys(before, 1)
    assert all(after[number].invocation != before[number].invocation for number in before)


@pytest.mark.thorough
def test_a_rollout_of_a_stopped_app_starts_the_new_generation_only(stage: Stage) -> None:
    stage.deploy("v1")
    stage.machine.run(["systemctl", "stop", APP])
    stage.journal.restart()
    ended = stage.rollout(stage.release("v2"))
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert {ran.generation for ran in stage.invocations().values()} == {2}
    assert stage.get()["version"] == "v2"
    assert len(ended.instances("starting")) == INSTANCES
    assert {generation for _, generation in ended.instances("starting")} == {2}


def test_an_address_in_use_fails_the_deployment(stage: Stage) -> None:
    with stage.machine.popen(
        ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "8080"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONUNBUFFERED": "1"},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        stage.configure(release=stage.release("v1"))
        ended = stage.change("apply")
        assert (ended.status, ended.result) == (1, "failed")
        assert "demo.socket could not listen" in ended.finished["reason"]
        other.kill()
    stage.machine.run(["systemctl", "reset-failed", "demo.socket"], check=False)
    assert stage.change("apply").result == "succeeded"
