"""The command on a real host: access, refusals, and the removal of an app."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.host.stage import APP, APP_FILE, DEADLINE, INSTANCES, RELEASES, Stage

UNITS = "/etc/systemd/system"
DROP_IN = f"{UNITS}/{APP}@.service.d/50-word.conf"


def refused(stage: Stage, *argv: str, status: int = 3, user: str | None = None) -> str:
    """Run a command that is refused with this exit status and return its sentence."""
    done = stage.deployd(*argv, user=user)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.startswith("deployd: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("deployd: ").rstrip()


def tree(stage: Stage, *directories: str) -> set[str]:
    """Return all files below these directories of the host."""
    root = stage.machine.path("/")
    found = (path for directory in directories for path in (root / directory.lstrip("/")).rglob("*"))
    return {str(path.relative_to(root)) for path in found}


# ---- one rollout at a time


@pytest.mark.thorough
def test_a_second_rollout_is_refused(stage: Stage) -> None:
    stage.deploy("v1")
    with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
        begun.until("instance", state="starting")
        for verb in (["rollout", APP], ["apply", APP], ["rollback", APP], ["restart", APP], ["scale", APP, "5"]):
            sentence = (
                "a rollout of demo to generation 2 is rolling; wait for its end, roll it back with deployd abort demo,"
                " or replace it with --supersede"
            )
            assert refused(stage, *verb) == sentence, verb
        stage.admit()
        assert begun.end().result == "succeeded"
    assert len(stage.history()) == 2


@pytest.mark.thorough
def test_abort_rolls_back(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    stage.configure(gate={"min_ready": "1h"}, rollout={"max_surge": 0})  # it is not over before the abort
    with stage.load(rate=100) as load:
        with stage.begin("rollout", "--release", stage.release("v2")) as begun:
            begun.until("instance", state="stopped")
            assert stage.deployd("abort", APP).returncode == 0
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result, ended.reason) == (1, "aborted", "aborted by request")
    assert not record.failed, record.by_outcome()
    after = stage.invocations()
    assert (len(after), {ran.generation for ran in after.values()}) == (INSTANCES, {1})
    assert set(before.values()) & set(after.values())
    assert stage.history()[0]["result"] == "aborted"
    for verb in ("abort", "pause", "resume"):
        assert refused(stage, verb, APP) == "no rollout of demo is under way"


@pytest.mark.thorough
def test_interrupting_the_command_leaves_the_rollout_running(stage: Stage) -> None:
    stage.deploy("v1")
    with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
        begun.until("instance", state="starting")
        stage.machine.signal(begun.process, signal.SIGINT)
        ended = begun.end()
    assert ended.status != 0
    assert "the rollout of generation 2 continues" in ended.stderr
    stage.admit()
    stage.machine.wait_for(lambda: stage.history()[0]["result"] == "succeeded", what="the rollout's end")


@pytest.mark.thorough
def test_no_block_returns_at_once(stage: Stage) -> None:
    stage.deploy("v1")
    done = stage.deployd("rollout", APP, "--release", stage.release("v2", boot=0.3), "--no-block")
    assert (done.returncode, done.stdout) == (0, "")
    assert "generation 2" in done.stderr
    stage.machine.wait_for(lambda: stage.history()[0]["result"] == "succeeded", what="the rollout's end")


# ---- refused


def test_a_broken_app_file_stops_rollouts_and_nothing_else(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    good = stage.machine.read(APP_FILE)
    broken = good.replace("instances = 4", 'instances = "four"')
    stage.machine.write(APP_FILE, broken)
    line = broken.splitlines().index('instances = "four"') + 1
    for verb in (["rollout", APP], ["apply", APP], ["plan", APP], ["units", APP]):
        assert refused(stage, *verb).startswith(f"{APP_FILE}:{line}: instances: "), verb
    check = stage.deployd("check", APP)
    assert check.returncode == 3
    assert f"{APP_FILE}:{line}: instances: " in check.stderr
    assert stage.status()["ready"] == INSTANCES
    assert (stage.get()["version"], stage.invocations()) == ("v1", before)
    stage.machine.write(APP_FILE, good)
    assert stage.rollout(stage.release("v2")).result == "succeeded"


@pytest.mark.thorough
def test_a_release_that_is_not_there_is_refused(stage: Stage) -> None:
    stage.deploy("v1")
    assert "/srv/demo/v9" in refused(stage, "rollout", APP, "--release", "/srv/demo/v9")
    assert len(stage.history()) == 1


@pytest.mark.thorough
def test_an_unknown_app_exits_with_4(stage: Stage) -> None:
    for verb in ("status", "history", "rollout", "apply", "plan", "units", "check", "logs", "abort", "remove"):
        assert "nope" in refused(stage, verb, "nope", status=4), verb


@pytest.mark.thorough
def test_wrong_usage_exits_with_2(stage: Stage) -> None:
    for argv in (["rollout"], ["scale", APP], ["status", "--no-such-option"], ["no-such-command"]):
        assert stage.deployd(*argv).returncode == 2, argv


@pytest.mark.thorough
def test_a_daemon_that_cannot_be_started_exits_with_5(stage: Stage) -> None:
    stage.deploy("v1")
    stage.machine.run(["systemctl", "mask", "--runtime", "--now", "deployd"])
    try:
        for verb in ("status", "rollout"):
            assert "deployd does not answer" in refused(stage, verb, APP, status=5), verb
        assert stage.get()["version"] == "v1"
    finally:
        stage.machine.run(["systemctl", "unmask", "--runtime", "deployd"])
    assert stage.status()["ready"] == INSTANCES  # the call has started it


def test_anyone_may_query_and_only_root_may_change(stage: Stage) -> None:
    stage.deploy("v1")
    before = stage.invocations()
    for argv in (["status", APP], ["status"], ["history", APP], ["plan", APP], ["units", APP], ["check"]):
        assert stage.deployd(*argv, user="nobody").returncode == 0, argv
    changes = [[verb, APP] for verb in ("rollout", "apply", "rollback", "restart", "pause", "abort", "remove")]
    for argv in [*changes, ["scale", APP, "1"]]:
        assert "needs root or the polkit action org.deployd1." in refused(stage, *argv, user="nobody"), argv
    assert (stage.invocations(), len(stage.history())) == (before, 1)


# ---- files of others


@pytest.mark.thorough
@pytest.mark.parametrize("unit", [f"{APP}.socket", f"{APP}.service", f"{APP}@.service"])
def test_a_unit_that_deployd_did_not_write_is_never_replaced(stage: Stage, unit: str) -> None:
    theirs = "[Unit]\nDescription=Mine\n[Service]\nExecStart=/bin/true\n"
    stage.machine.write(f"{UNITS}/{unit}", theirs)
    stage.configure(release=stage.release("v1"))
    before = tree(stage, UNITS)
    assert f"{UNITS}/{unit}" in refused(stage, "apply", APP)
    assert stage.machine.read(f"{UNITS}/{unit}") == theirs
    assert tree(stage, UNITS) == before


@pytest.mark.thorough
def test_drop_ins_of_the_administrator_are_honoured(stage: Stage) -> None:
    stage.deploy("v1")
    stage.machine.write(DROP_IN, "[Service]\nEnvironment=DROPPED=in\n")
    stage.machine.run(["systemctl", "daemon-reload"])
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert {stage.process(number)[1].get("DROPPED") for number in stage.invocations()} == {"in"}


@pytest.mark.thorough
def test_remove_deletes_what_was_generated_and_nothing_else(stage: Stage) -> None:
    stage.machine.write(DROP_IN, "[Service]\nEnvironment=DROPPED=in\n")
    stage.release("v1")
    places = (UNITS, "/var/lib/deployd/apps", "/etc/deployd", RELEASES)
    before = tree(stage, *places)
    stage.deploy("v1")
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    done = stage.deployd("remove", APP)
    assert (done.returncode, done.stderr) == (0, "demo: removed\n")
    own = {item for item in tree(stage, *places) if not item.startswith("srv/")}
    assert own - {APP_FILE.lstrip("/")} == {item for item in before if not item.startswith("srv/")}
    assert stage.machine.path(APP_FILE).exists()
    assert (stage.machine.path(RELEASES) / "v2/app.py").exists()
    listed = stage.machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}*"]).stdout
    assert listed == ""
    with pytest.raises(ConnectionRefusedError):
        stage.get()
    assert stage.status()["generation"] is None
    assert stage.deploy("v1").generation == 1


@pytest.mark.thorough
def test_remove_works_without_the_app_file(stage: Stage) -> None:
    stage.deploy("v1")
    stage.machine.path(APP_FILE).unlink()
    assert "put the file back, or use deployd remove demo" in refused(stage, "rollout", APP)
    assert stage.deployd("remove", APP).returncode == 0
    refused(stage, "status", APP, status=4)


@pytest.mark.thorough
def test_the_command_works_with_a_closed_pipe(stage: Stage) -> None:
    """`deployd status | head -1` is not an error."""
    stage.deploy("v1")
    with stage.machine.popen(["deployd", "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        process.wait(DEADLINE)


@pytest.mark.thorough
def test_check_names_every_file(stage: Stage) -> None:
    stage.configure(release=stage.release("v1"))
    stage.machine.write(str(Path(APP_FILE).with_name("other.toml")), "listen = []\n")
    answer = stage.deployd("check", "--json")
    assert answer.returncode == 3
    assert '"valid": false' in answer.stdout
    done = stage.deployd("check")
    assert "demo" in done.stdout
    assert "other.toml" in done.stderr
