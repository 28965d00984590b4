"""A rollout during another one is refused, or supersedes it and continues from the present state."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, INSTANCES, Ended, Stage


def one_generation(stage: Stage, generation: int) -> None:
    status = stage.status()
    assert status["rollout"] is None
    assert (status["generation"], status["ready"]) == (generation, INSTANCES)
    assert [item["generation"] for item in status["instances"]] == [generation] * INSTANCES


def starts(ended: Ended) -> int:
    return len(ended.instances("starting"))


@pytest.mark.thorough
def test_another_rollout_is_refused_while_one_runs(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    with stage.begin("rollout", "--release", stage.release("v2", mode="hang")) as begun:
        begun.until("instance", state="starting")
        for verb, *argv in (["rollout"], ["apply"], ["rollback"], ["restart"], ["scale", "3"]):
            refused = stage.deployd(verb, APP, *argv)
            assert refused.returncode == 3, (verb, refused)
            assert "a rollout of demo to generation 2 is rolling" in refused.stderr
            assert "--supersede" in refused.stderr
        assert stage.deployd("abort", APP).returncode == 0
        assert begun.end().result == "aborted"
    assert stage.invocations() == before


@pytest.mark.thorough
def test_a_rollout_that_ends_keeps_the_files_of_its_successor(stage: Stage) -> None:
    """The files that a successor has already written are not removed with the old ones."""
    slow = stage.release("v3", files={"hook": "#!/bin/sh\nwhile ! grep -q succeeded /tmp/ended; do :; done"})
    stage.machine.write("/tmp/ended", "")
    stage.machine.run(["chmod", "644", "/tmp/ended"])
    stage.deploy("v1")
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "1") as first:
        first.until("paused")
        stage.configure(rollout={"hooks": {"before": [["./hook"]]}})
        with stage.begin("rollout", "--release", slow, "--supersede") as second:
            second.until("hook", state="started")
            assert stage.deployd("resume", APP).returncode == 0
            assert first.end().result == "succeeded"
            stage.machine.write("/tmp/ended", "succeeded")
            ended = second.end()
    assert ended.result == "succeeded", ended
    one_generation(stage, 3)
    assert [row["result"] for row in stage.history()] == ["succeeded"] * 3


@pytest.mark.sampled
@pytest.mark.parametrize("paused", [False, True])
def test_a_newer_rollout_supersedes_from_the_present_state(stage: Stage, paused: bool) -> None:
    stage.deploy("v1")
    with stage.load() as load:
        stage.configure(rollout={"pause_after": [3] if paused else []})
        with stage.begin("rollout", "--release", stage.release("v2", barrier=not paused)) as first:
            if paused:
                first.until("paused")
            else:
                stage.admit(first.until("instance", state="starting")["instance"])
                first.until("instance", state="ready", generation=2)
            stage.configure(rollout={})
            second = stage.change("rollout", "--release", stage.release("v3"), "--supersede")
            overtaken = first.end()
        record = load.stop()
    assert (overtaken.status, overtaken.result) == (1, "superseded"), overtaken
    assert overtaken.reason == "superseded by generation 3"
    assert (second.status, second.result) == (0, "succeeded"), second
    one_generation(stage, 3)
    assert [row["result"] for row in stage.history()] == ["succeeded", "superseded", "succeeded"]
    # The generation that was half rolled out is the newest old one, so it is stopped first.
    stopping = [event for event in second.events if event["event"] == "instance" and event["state"] == "stopping"]
    order = [event["generation"] for event in stopping]
    assert order == sorted(order, reverse=True)
    assert not record.failed, record.summary()


@pytest.mark.thorough
def test_a_paused_bad_release_is_superseded_by_a_fix(stage: Stage) -> None:
    stage.deploy("v1", rollout={"on_failure": "pause"})
    with stage.load() as load:
        with stage.begin("rollout", "--release", stage.release("v2", mode="crash")) as first:
            paused = first.until("paused")
            assert paused["pause"] == "failed"
            assert f"deployd rollout {APP} --supersede" in paused["how"]
            shown = stage.status()["rollout"]
            assert (shown["failure"]["exit_status"], shown["failure"]["gate"]) == (3, "notify")
            second = stage.change("rollout", "--release", stage.release("v3"), "--supersede")
            assert first.end().result == "superseded"
        record = load.stop()
    assert second.result == "succeeded", second
    one_generation(stage, 3)
    assert not record.failed, record.summary()


@pytest.mark.thorough
def test_an_abort_after_superseding_rolls_back_to_the_first_generation(stage: Stage) -> None:
    """Instances of the first generation that still run are kept."""
    stage.deploy("v1")
    before = stage.invocations()
    with stage.load() as load:
        with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as first:
            stage.admit(first.until("instance", state="starting")["instance"])
            first.until("instance", state="stopped", generation=1)
            with stage.begin("rollout", "--release", stage.release("v3", barrier=True), "--supersede") as second:
                stage.admit(second.until("instance", state="starting", generation=3)["instance"])
                second.until("instance", state="ready", generation=3)
                assert stage.deployd("abort", APP).returncode == 0
                aborted = second.end()
        record = load.stop()
    assert (aborted.status, aborted.result) == (1, "aborted"), aborted
    one_generation(stage, 1)
    after = stage.invocations()
    touched = {number for row in stage.history() for number in row["replaced"]}
    assert {number for number, ran in before.items() if after.get(number) == ran} == set(before) - touched
    assert not record.failed, record.summary()


@pytest.mark.thorough
def test_a_rollback_supersedes_a_rollout(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3), "--canary", "1") as first:
        first.until("paused")
        second = stage.change("rollback", "--supersede")
        assert first.end().result == "superseded"
    assert second.result == "succeeded", second
    assert starts(second) == 0, "running instances are adopted"
    one_generation(stage, 3)
    assert {number: ran.invocation for number, ran in stage.invocations().items()} == {
        number: ran.invocation for number, ran in before.items()
    }


@pytest.mark.thorough
def test_supersede_without_a_rollout_under_way_is_a_plain_rollout(stage: Stage) -> None:
    stage.deploy("v1")
    ended = stage.change("rollout", "--release", stage.release("v2"), "--supersede")
    assert ended.result == "succeeded"
    one_generation(stage, 2)
