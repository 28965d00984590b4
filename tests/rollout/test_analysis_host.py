"""[rollout.analysis]: a command of the new release decides while both generations serve."""

from __future__ import annotations

import json

import pytest

from tests.host.faults import kill_daemon
from tests.host.stage import APP, RELEASES, Stage

SAID = f"{RELEASES}/said"
YES = f"""\
#!/bin/sh
echo "looking at it"
cp "$DEPLOYD_COMPARE" {SAID}/compare
{{ id -un; pwd; env | grep ^DEPLOYD_ | sort; }} > {SAID}/environment
echo >> {SAID}/runs
"""
NO = "#!/bin/sh\necho looking at it\ngrep -q '\"generation\": 2' $DEPLOYD_COMPARE && echo too many errors >&2\nexit 7\n"


def analysed(stage: Stage, **options: object) -> None:
    """Deploy generation 1 without analysis, then add one to the app file."""
    stage.machine.run(["install", "-d", "-m", "777", SAID])
    stage.deploy("v1", instances=2, user="www-data")
    stage.configure(rollout={"analysis": {"command": ["./bin/ok"], "interval": "0.2s"} | options})


def runs(stage: Stage) -> int:
    path = stage.machine.path(f"{SAID}/runs")
    return len(path.read_text().splitlines()) if path.exists() else 0


def nothing_left(stage: Stage) -> None:
    units = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}:*"]
    assert stage.machine.run(units).stdout == ""
    assert not stage.machine.path(f"/run/credentials/{APP}:analysis.service").exists()


def test_a_failed_analysis_rolls_a_canary_back_automatically(stage: Stage) -> None:
    analysed(stage)
    before = stage.invocations()
    with stage.load() as load:
        with stage.begin("rollout", "--release", stage.release("v2", files={"bin/ok": NO}), "--canary", "1") as begun:
            ended = begun.end()
        record = load.stop()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    failure = ended.finished["failure"]
    assert (failure["gate"], failure["exit_status"], failure["instance"]) == ("analysis", 7, None)
    assert failure["waited_for"] == "./bin/ok to exit with status 0"
    assert failure["journal"] == ["looking at it", "too many errors"]
    assert stage.invocations() == before
    row = stage.history()[0]
    assert (row["result"], row["reason"]) == ("rolled-back", "analysis ./bin/ok exited with status 7")
    assert "too many errors" in stage.deployd("history", APP).stdout
    assert not record.failed, record.summary()
    nothing_left(stage)


@pytest.mark.thorough
def test_a_canary_with_a_successful_analysis_waits_for_resume(stage: Stage) -> None:
    analysed(stage)
    release = stage.release("v2", files={"bin/ok": YES})
    with stage.begin("rollout", "--release", release, "--canary", "1") as begun:
        begun.until("paused")
        stage.machine.wait_for(lambda: runs(stage) >= 2, what="the analysis to run repeatedly")
        assert stage.status()["rollout"]["pause"] == "held", "only a person resumes it"
        assert stage.deployd("resume", APP).returncode == 0
        ended = begun.end()
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    user, directory, *environment = stage.machine.read(f"{SAID}/environment").splitlines()
    assert (user, directory) == ("www-data", release)
    found = dict(line.partition("=")[::2] for line in environment)
    assert found == {
        "DEPLOYD_APP": APP,
        "DEPLOYD_COMPARE": f"/run/credentials/{APP}:analysis.service/compare",
        "DEPLOYD_GENERATION": "2",
        "DEPLOYD_PREVIOUS_GENERATION": "1",
        "DEPLOYD_PROCESS": "web",
        "DEPLOYD_RELEASE": release,
    }
    compared = json.loads(stage.machine.read(f"{SAID}/compare"))
    assert [item["generation"] for item in compared["generations"]] == [2, 1]
    assert "looking at it" in stage.deployd("logs", APP, "--generation", "2").stdout
    nothing_left(stage)


@pytest.mark.thorough
def test_the_last_old_instance_serves_until_the_analysis_succeeds(stage: Stage) -> None:
    analysed(stage)
    ended = stage.rollout(stage.release("v2", files={"bin/ok": YES}))
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    reported = [
        f"{event['event']} {event['state']} {event.get('generation')}"
        for event in ended.events
        if event["event"] in ("analysis", "instance") and event["state"] in ("ready", "stopped", "waiting", "succeeded")
    ]
    assert reported.count("instance ready 2") == reported.count("instance stopped 1") == 2
    yes = reported.index("analysis succeeded 2")
    assert "instance stopped 1" in reported[yes:], reported
    assert "analysis waiting 2" in reported, reported
    assert runs(stage) >= 1


@pytest.mark.thorough
def test_a_time_out_is_a_failure(stage: Stage) -> None:
    analysed(stage, timeout="1s")
    ended = stage.rollout(stage.release("v2", files={"bin/ok": "#!/bin/sh\nsleep 60\n"}))
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert ended.finished["failure"]["reason"] == "analysis ./bin/ok did not end within 1 s"
    nothing_left(stage)


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["restart", "rollback"])
def test_a_change_without_a_new_release_is_not_analysed(stage: Stage, verb: str) -> None:
    analysed(stage)
    assert stage.rollout(stage.release("v2", files={"bin/ok": YES})).result == "succeeded"
    before = runs(stage)
    assert stage.change(verb).result == "succeeded"
    assert runs(stage) == before


@pytest.mark.thorough
def test_a_restarted_daemon_runs_the_analysis_again(stage: Stage) -> None:
    analysed(stage)
    wait = f"#!/bin/sh\n[ -e {SAID}/go ] || {{ touch {SAID}/go; sleep 3; }}\n"
    with stage.begin("rollout", "--release", stage.release("v2", files={"bin/ok": wait}), "--canary", "1") as begun:
        stage.machine.wait_for(lambda: stage.machine.path(f"{SAID}/go").exists(), what="the analysis to begin")
        kill_daemon(stage)
        begun.until("daemon-back")
        begun.until("analysis", state="succeeded")
        assert stage.deployd("resume", APP).returncode == 0
        ended = begun.end()
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    nothing_left(stage)
