"""Release directories that are changed, removed or no longer needed are noticed before an instance is stopped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.host.stage import APP, INSTANCES, RELEASES, Json, Ran, Stage

SLOW_TO_STOP = {"grace": "2"}


def directory(stage: Stage, version: str) -> Path:
    return stage.machine.path(f"{RELEASES}/{version}")


def change(stage: Stage, version: str) -> None:
    """Change a release in place, as a deployment that copies over it does."""
    (directory(stage, version) / "VERSION").write_text(f"{version}, and a word more\n")


def processes(found: dict[int, Ran]) -> set[int]:
    return {ran.pid for ran in found.values()}


def releases(stage: Stage) -> dict[str, Json]:
    rows: list[Json] = stage.json("releases", APP)["releases"]
    return {row["release"].removeprefix(f"{RELEASES}/"): row for row in rows}


def states(stage: Stage) -> dict[str, str]:
    return {release: row["state"] for release, row in releases(stage).items()}


def refused(stage: Stage, *argv: str) -> str:
    """Return the message of a command that is refused; fail if it has changed anything."""
    before, generations = stage.invocations(), len(stage.history())
    done = stage.deployd(*argv)
    assert (done.returncode, done.stdout) == (3, ""), done
    assert stage.invocations() == before
    assert len(stage.history()) == generations
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_release_that_was_changed_in_place_is_rolled_out(stage: Stage) -> None:
    stage.deploy("v1")
    first = stage.invocations()
    ended = stage.rollout()
    assert (ended.result, len(ended.finished["adopted"])) == ("succeeded", INSTANCES)
    assert processes(stage.invocations()) == processes(first)

    change(stage, "v1")
    plan = stage.json("plan", APP)
    assert {step["action"] for step in plan["actions"]} == {"start", "stop"}
    with stage.load(rate=100) as load:
        ended = stage.change("apply")
        record = load.stop()
    assert (ended.result, len(ended.finished["replaced"])) == ("succeeded", INSTANCES)
    assert not record.failed, record.by_outcome()
    assert not processes(stage.invocations()) & processes(first)
    assert stage.get()["version"] == "v1, and a word more"
    assert stage.deployd("apply", APP).stderr.startswith(f"{APP}: nothing to do: ")


@pytest.mark.thorough
def test_files_that_the_app_writes_do_not_count_as_changes(stage: Stage) -> None:
    stage.deploy("v1", user="daemon")
    before = stage.invocations()
    data = directory(stage, "v1") / "data"
    data.mkdir()
    (data / "by-the-app").write_text("data")
    stage.machine.run(["chown", "-R", "daemon", f"{RELEASES}/v1/data"])
    (directory(stage, "v1") / "__pycache__").mkdir()
    (directory(stage, "v1") / "__pycache__/app.cpython-311.pyc").write_text("bytecode")
    assert len(stage.rollout().finished["adopted"]) == INSTANCES
    assert processes(stage.invocations()) == processes(before)
    (data / "by-root").write_text("code")  # in a directory of the app, which could remove it
    assert len(stage.rollout().finished["adopted"]) == INSTANCES
    (directory(stage, "v1") / "plugin.py").write_text("code")
    assert len(stage.rollout().finished["replaced"]) == INSTANCES


@pytest.mark.thorough
def test_nothing_is_started_from_a_release_that_has_changed(stage: Stage) -> None:
    stage.deploy("v1")
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    change(stage, "v1")
    sentence = refused(stage, "rollback", APP)
    assert f"the release {RELEASES}/v1 has changed since generation 1: VERSION was changed on 2" in sentence
    assert f"deployd rollout {APP} --release {RELEASES}/v1 to roll it out as it is now" in sentence
    assert stage.rollout(f"{RELEASES}/v1").result == "succeeded"
    assert stage.get()["version"] == "v1, and a word more"

    change(stage, "v1")
    (directory(stage, "v1") / "mode").unlink()
    for verb in (["restart", APP], ["scale", APP, "6"]):
        assert f"{RELEASES}/v1 has changed since generation 3" in refused(stage, *verb)
    shutil.rmtree(directory(stage, "v1"))
    for verb in (["restart", APP], ["scale", APP, "6"], ["rollout", APP, "--release", f"{RELEASES}/v1"]):
        assert f"the release {RELEASES}/v1 cannot be used: No such file or directory" in refused(stage, *verb)
    assert (
        releases(stage)["v1"]["why"]
        == f"instances 1-{INSTANCES} cannot start again; put it back, or roll out another release"
    )

    # A rollout is possible, and warns that it cannot be rolled back.
    ended = stage.rollout(stage.release("v3"))
    assert ended.result == "succeeded"
    [warning] = [event for event in ended.events if event["event"] == "warning"]
    assert warning["reason"] == (
        f"the release {RELEASES}/v1 is gone (No such file or directory): "
        "if this rollout fails, it cannot be rolled back"
    )
    assert "No such file" in refused(stage, "rollback", APP)
    assert stage.change("rollback", "--to", "2").result == "succeeded"


def test_a_release_that_vanishes_in_mid_rollout_is_rolled_back(stage: Stage) -> None:
    stage.configure(release=stage.release("v1", files=SLOW_TO_STOP))
    assert stage.change("apply").result == "succeeded"
    before = stage.invocations()
    release = stage.release("v2")
    with stage.load(rate=100) as load:
        with stage.begin("rollout", "--release", release) as begun:
            begun.until("instance", state="stopping")
            shutil.rmtree(directory(stage, "v2"))
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert ended.reason == f"the release {release} is gone (No such file or directory)"
    assert not record.failed, record.by_outcome()
    after = stage.invocations()
    assert len(after) == INSTANCES
    kept = {number: ran for number, ran in before.items() if after.get(number) == ran}
    assert len(kept) == INSTANCES - 1  # all but the one that was being replaced
    assert {ran.generation for ran in after.values()} == {1}
    row = stage.history()[0]
    assert (row["result"], row["failure"]["gate"]) == ("rolled-back", "release")
    assert releases(stage)["v2"]["state"] == "missing"


@pytest.mark.thorough
def test_resume_is_refused_if_the_release_is_missing(stage: Stage) -> None:
    stage.deploy("v1")
    stage.configure(rollout={"pause_after": [1]})
    with stage.begin("rollout", "--release", stage.release("v2")) as begun:
        begun.until("paused")
        aside = directory(stage, "v2").rename(directory(stage, "aside"))
        sentence = refused(stage, "resume", APP)
        assert f"the release {RELEASES}/v2 is gone" in sentence
        assert f"put it back and resume, or use deployd abort {APP} to roll back" in sentence
        aside.rename(directory(stage, "v2"))  # another one in its place would be a change
        assert stage.deployd("resume", APP).returncode == 0
        assert begun.end().result == "succeeded"


@pytest.mark.thorough
def test_a_second_rollback_returns_to_an_earlier_generation(stage: Stage) -> None:
    stage.deploy("v1")
    for version in ("v2", "v3"):
        assert stage.rollout(stage.release(version)).result == "succeeded"
    with stage.begin("rollout", "--release", stage.release("v4", barrier=True)) as begun:
        begun.until("instance", state="starting")
        assert stage.deployd("abort", APP).returncode == 0
        assert begun.end().result == "aborted"
    sentence = refused(stage, "rollback", APP)
    assert "generation 4 of demo was aborted, and generation 3 is current again" in sentence
    assert "run deployd rollback demo --to 2" in sentence
    assert stage.change("rollback", "--to", "2").result == "succeeded"
    assert stage.get()["version"] == "v2"
    assert stage.change("rollback").result == "succeeded"
    assert stage.get()["version"] == "v1"
    assert "has no good generation before 6 to roll back to" in refused(stage, "rollback", APP)


@pytest.mark.thorough
def test_a_release_can_say_that_it_is_irreversible(stage: Stage) -> None:
    mark = {".deployd/irreversible": "drops the column price"}
    stage.deploy("v1")
    ended = stage.rollout(stage.release("v2", files=mark))
    assert ended.result == "succeeded"
    [warning] = [event for event in ended.events if event["event"] == "warning"]
    assert warning["reason"] == "generation 2 is irreversible, as its release says"
    assert warning["journal"] == ["drops the column price"], "root may read it"
    assert stage.change("scale", "3").result == "succeeded"
    assert [row["irreversible"] for row in stage.history()] == [False, True, False]
    sentence = refused(stage, "rollback", APP)
    assert "generation 2 of demo is irreversible, and generation 1 is older" in sentence
    assert f"run deployd rollback {APP} --to 1 --past-irreversible" in sentence
    assert stage.change("rollback", "--past-irreversible").result == "succeeded"
    assert stage.get()["version"] == "v1"

    # A rollout that fails is not rolled back automatically.
    with stage.begin("rollout", "--release", stage.release("v3", "crash", files=mark)) as begun:
        begun.until("paused")
        assert "--past-irreversible" in refused(stage, "abort", APP)
        assert stage.deployd("abort", APP, "--past-irreversible").returncode == 0
        assert begun.end().result == "aborted"
    assert stage.get()["version"] == "v1"


@pytest.mark.thorough
def test_the_table_shows_what_may_be_deleted(stage: Stage) -> None:
    stage.deploy("v01", instances=2, rollout={"max_surge": 2})
    for number in range(2, 13):
        assert stage.rollout(stage.release(f"v{number:02}")).result == "succeeded"
    directory(stage, "shared").mkdir()
    expected = {
        "v12": "running",
        **{f"v{number:02}": "kept" for number in range(11, 2, -1)},
        "v02": "free",
        "v01": "kept",
        "shared": "unknown",
    }
    rows = releases(stage)
    assert {release: row["state"] for release, row in rows.items()} == expected
    assert rows["v12"] == {
        "release": f"{RELEASES}/v12", "generations": [12], "instances": sorted(stage.invocations()),
        "state": "running", "deletable": False, "why": rows["v12"]["why"], "changed": False,
    }  # fmt: skip
    assert rows["v11"]["why"] == f"deployd rollback {APP} returns to generation 11"
    assert rows["v03"]["why"] == f"deployd rollback {APP} --to 3 is possible"
    assert rows["v01"]["why"] == "the app file names it"
    text = stage.deployd("releases", APP).stdout
    assert [line.split()[0] for line in text.splitlines() if not line.startswith(" ")] == ["STATE", *expected.values()]

    stage.configure(release=f"{RELEASES}/v12")
    done = stage.deployd("releases", APP, "--prune")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"deleted {RELEASES}/v02\ndeleted {RELEASES}/v01\n"
    assert not directory(stage, "v01").exists()
    assert directory(stage, "shared").is_dir(), "deployd has made no generation of it"
    assert stage.json("releases", APP, "--prune") == {"app": APP, "deleted": []}
    change(stage, "v10")
    rows = releases(stage)
    assert {row["state"] for row in (rows["v01"], rows["v02"])} == {"missing"}
    assert (rows["v10"]["changed"], rows["v10"]["deletable"]) == (True, False)
    assert "VERSION was changed on 2" in rows["v10"]["why"]
    assert stage.deployd("releases", APP).stdout.endswith("2 more releases missing and not needed\n")
    assert stage.change("rollback", "--to", "3").result == "succeeded"
    assert stage.get()["version"] == "v03"
    assert states(stage)["v03"] == "running"


@pytest.mark.thorough
def test_releases_of_an_app_that_is_not_deployed(stage: Stage) -> None:
    assert stage.deployd("releases", "nobody").returncode == 4
    stage.configure(release=stage.release("v1"))
    assert stage.json("releases", APP) == {
        "app": APP,
        "releases": [
            {
                "release": f"{RELEASES}/v1",
                "generations": [],
                "instances": [],
                "state": "kept",
                "deletable": False,
                "why": "the app file names it",
                "changed": False,
            }
        ],
    }
