"""Changes of settings are rollouts, too: they replace as few instances as possible and reload systemd rarely."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, INSTANCES, RELEASES, Ran, Stage


def words(stage: Stage) -> dict[int, str]:
    """Return the variable WORD of the processes of each generation."""
    return {ran.generation: stage.process(number)[1]["WORD"] for number, ran in stage.invocations().items()}


@pytest.mark.thorough
def test_changed_settings_are_rolled_out_and_each_generation_keeps_its_own(stage: Stage) -> None:
    stage.deploy("v1", environment={"WORD": "one"})
    stage.configure(
        release=stage.release("v2", barrier=True),
        environment={"WORD": "two"},
        exec=["/usr/bin/python3", "-u", "app.py"],
    )
    with stage.load(rate=100) as load:
        with stage.begin("apply") as begun:
            stage.admit(begun.until("instance", state="starting")["instance"])
            begun.until("instance", state="ready")
            assert stage.deployd("pause", APP).returncode == 0
            assert words(stage) == {1: "one", 2: "two"}
            argvs = {ran.generation: stage.process(number)[0][1:] for number, ran in stage.invocations().items()}
            assert argvs == {1: ["app.py"], 2: ["-u", "app.py"]}
            assert stage.deployd("resume", APP).returncode == 0
            stage.admit()
            ended = begun.end()
        record = load.stop()
    assert (ended.result, len(ended.finished["replaced"])) == ("succeeded", INSTANCES)
    assert not record.failed, record.by_outcome()
    assert words(stage) == {2: "two"}


@pytest.mark.thorough
def test_scaling_adopts_running_instances(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    with stage.load(rate=100) as load:
        up = stage.change("scale", "6")
        grown = stage.invocations()
        down = stage.change("scale", "3")
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert (up.result, sorted(up.finished["adopted"]), up.finished["replaced"]) == ("succeeded", sorted(before), [])
    assert processes(before) < processes(grown)
    assert {ran.generation for ran in grown.values()} == {2}
    assert (len(grown), stage.history()[1]["cause"]) == (6, "scale")
    shrunk = stage.invocations()
    assert (down.result, len(shrunk), {ran.generation for ran in shrunk.values()}) == ("succeeded", 3, {3})
    assert processes(shrunk) < processes(grown)


@pytest.mark.thorough
def test_a_change_of_pace_restarts_no_instance(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    stage.configure(rollout={"max_surge": 2}, gate={"timeout": "30s"}, stop={"timeout": "20s"})
    ended = stage.change("apply")
    assert (ended.result, sorted(ended.finished["adopted"])) == ("succeeded", sorted(before))
    after = stage.invocations()
    assert processes(after) == processes(before)
    assert {ran.generation for ran in after.values()} == {2}


@pytest.mark.thorough
def test_apply_with_nothing_changed_does_nothing(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    stage.journal.restart()
    done = stage.deployd("apply", APP)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "demo: nothing to do: /srv/demo/v1 (unchanged)\n")
    assert stage.journal.daemon_reloads() == 0
    assert stage.journal.changes() == []
    assert stage.invocations() == before
    assert len(stage.history()) == 1


def test_a_rollback_restores_release_and_settings(stage: Stage) -> None:
    stage.deploy("v1", environment={"WORD": "one"})
    stage.configure(release=stage.release("v2"), environment={"WORD": "two"}, instances=5)
    assert stage.change("apply").result == "succeeded"
    assert words(stage) == {2: "two"}
    with stage.load(rate=100) as load:
        ended = stage.change("rollback")
        record = load.stop()
    assert (ended.status, ended.result, ended.generation) == (0, "succeeded", 3), ended
    assert not record.failed, record.by_outcome()
    assert words(stage) == {3: "one"}
    status = stage.status()
    assert (status["desired"], status["ready"], status["release"]) == (INSTANCES, INSTANCES, f"{RELEASES}/v1")
    assert stage.history()[0]["cause"] == "rollback"


@pytest.mark.thorough
def test_a_rollback_adopts_instances_that_run_the_same_release(stage: Stage) -> None:
    stage.deploy("v1")
    stage.configure(instances=6)
    assert stage.change("apply").result == "succeeded"
    grown = stage.invocations()
    ended = stage.change("rollback", "--to", "1")
    assert (ended.result, ended.finished["replaced"]) == ("succeeded", [])
    after = stage.invocations()
    assert (len(after), {ran.generation for ran in after.values()}) == (INSTANCES, {3})
    assert processes(after) < processes(grown)


@pytest.mark.thorough
def test_a_restart_replaces_every_process(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    with stage.load() as load:
        ended = stage.change("restart")
        record = load.stop()
    assert (ended.result, sorted(ended.finished["replaced"])) == ("succeeded", sorted(before))
    assert not record.failed, record.by_outcome()
    assert not processes(before) & processes(stage.invocations())
    row = stage.history()[0]
    assert (row["cause"], row["release"]) == ("restart", f"{RELEASES}/v1")


@pytest.mark.thorough
@pytest.mark.parametrize("instances", [2, 12])
def test_systemd_reloads_its_units_at_most_once(stage: Stage, instances: int) -> None:
    """Once for new and once for changed units, but not for another release or environment, whatever the number of
    instances."""

    def reloads() -> int:
        count = stage.journal.daemon_reloads()
        stage.journal.restart()
        return count

    stage.deploy("v1", instances=instances, rollout={"max_surge": 4})
    assert reloads() == 1
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert reloads() == 0
    assert stage.rollout(stage.release("bad", "crash")).result == "rolled-back"
    assert reloads() == 0
    stage.configure(environment={"WORD": "one"})
    assert stage.change("apply").result == "succeeded"
    assert reloads() == 0
    stage.configure(service={"MemoryMax": "512M"})
    assert stage.change("apply").result == "succeeded"
    assert reloads() == 1


def processes(found: dict[int, Ran]) -> set[tuple[int, str]]:
    return {(ran.pid, ran.invocation) for ran in found.values()}


@pytest.mark.thorough
def test_a_restart_changes_only_processes(stage: Stage) -> None:
    stage.deploy("v1")
    stage.configure(release=stage.release("v2"))
    assert stage.rollout().result == "succeeded"
    before = stage.invocations()
    assert stage.change("restart").result == "succeeded"
    restarted = stage.invocations()
    assert not {ran.pid for ran in before.values()} & {ran.pid for ran in restarted.values()}
    # The instances run what the file says: there is nothing to apply, and a rollout adopts all of them.
    assert stage.change("apply").status == 0
    assert stage.invocations() == restarted
    assert len(stage.rollout().finished["adopted"]) == INSTANCES
    assert {ran.pid for ran in stage.invocations().values()} == {ran.pid for ran in restarted.values()}
    # A rollback leads to the release before, not to the same one in other processes.
    assert stage.change("rollback").result == "succeeded"
    assert stage.get()["version"] == "v1"
