"""deployd health on a host, run without rights as a monitoring agent does."""

from __future__ import annotations

import json

import pytest

from tests.host.stage import APP, APP_FILE, Stage

AGENT = "nobody"
NONE = "no /etc/deployd/apps/other.toml and no history of it"


def checked(stage: Stage, *arguments: str) -> tuple[int, str]:
    done = stage.deployd("health", *arguments, user=AGENT)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_check_follows_the_app(stage: Stage) -> None:
    assert checked(stage) == (0, "OK - no apps\n")
    stage.deploy("v1", instances=2)
    good = f"OK - {APP}: 2 of 2 ready, generation 1 | ready=2;2:;1:;0 desired=2;;;0 restarts=0;;;0\n"
    assert checked(stage, APP) == (0, good)
    assert stage.rollout(stage.release("bad", "crash")).result == "rolled-back"
    status, line = checked(stage, APP)
    assert (status, line.startswith(f"WARNING - {APP}: 2 of 2 ready, generation 1; ")) == (1, True), line
    assert "the last rollout failed: generation 2: " in line
    assert "exited with status" in line
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert checked(stage, APP)[0] == 0
    with stage.begin("rollout", "--release", stage.release("v3"), "--canary", "1") as begun:
        begun.until("paused")
        status, line = checked(stage)
        assert (status, "rollout paused 3 → 4, waits for resume or abort" in line) == (1, True), line
        assert stage.deployd("abort", APP).returncode == 0
        begun.end()
    stage.machine.write(APP_FILE, "release = 3\n")
    status, line = checked(stage, APP)
    assert (status, "; the app file is invalid: " in line) == (1, True), line
    stage.configure(release=stage.release("v4"), service={"TasksMax": "64"})
    status, line = checked(stage, APP)
    noted = f"; the app file has 2 changed keys; release leads to {stage.release('v4')} |"
    assert (status, noted in line) == (0, True), line
    assert checked(stage)[1].startswith(f"OK - {APP}: 2 of 2 ready, generation 3 |"), (
        "all app files are read for root only"
    )
    stage.machine.run(["systemctl", "stop", APP])
    status, line = checked(stage, APP)
    assert (status, "the app is stopped" in line) == (2, True), line
    assert json.loads(stage.deployd("health", "--json", user=AGENT).stdout)["state"] == "CRITICAL"


@pytest.mark.thorough
def test_without_an_answer_the_state_is_unknown_and_no_daemon_is_started(stage: Stage) -> None:
    assert checked(stage, "other") == (3, f"UNKNOWN - there is no app other: {NONE}\n")
    stage.machine.run(["systemctl", "stop", "deployd"])
    line = "UNKNOWN - the daemon is not running; start it with: systemctl start deployd\n"
    assert checked(stage, APP) == (3, line)
    state = stage.machine.run(["systemctl", "is-active", "deployd"], check=False).stdout
    assert state == "inactive\n"
    answer = json.loads(stage.deployd("health", "--json", user=AGENT).stdout)
    assert (answer["state"], answer["apps"]) == ("UNKNOWN", [])
