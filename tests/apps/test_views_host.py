"""What users see of an app: units, the JSON of status, history and events (contracts), logs and the journal."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

from tests.host.stage import APP, APP_FILE, INSTANCES, Json, Stage

TIME = "time"
STATUS = {"app": str, "generation": int, "release": str, "desired": int, "ready": int, "routing": str}
ROLLOUT = {"phase": str, "from": int, "to": int, "reason": str}
INSTANCE = {
    "instance": int,
    "unit": str,
    "generation": int,
    "release": str,
    "state": str,
    "ready": bool,
    "main_pid": int,
    "invocation_id": str,
    "since": TIME,
    "restarts": int,
    "weight": None,
}
GENERATION = {
    "generation": int,
    "release": str,
    "cause": str,
    "result": str,
    "reason": str,
    "started": TIME,
    "finished": TIME,
    "duration": float,
    "replaced": list,
    "adopted": list,
}


def assert_shape(value: Json, shape: dict[str, Any]) -> None:
    """Fail unless `value` has these keys with values of these types. More keys are allowed."""
    assert shape.keys() <= value.keys()
    for key, wanted in shape.items():
        if wanted is None:
            assert value[key] is None, key
        elif wanted == TIME:
            assert datetime.fromisoformat(value[key]).tzinfo is not None, key
        else:
            assert type(value[key]) is wanted, (key, value[key])


def test_status_has_the_keys_of_the_contract(stage: Stage) -> None:
    stage.deploy("v1")
    status = stage.status()
    assert_shape(status, STATUS)
    assert status["rollout"] is None
    assert status["routing"] == "shared"
    assert len(status["instances"]) == INSTANCES
    for item in status["instances"]:
        assert_shape(item, INSTANCE)
        assert item["unit"] == f"{APP}@{item['instance']}.service"
        shown = stage.show(item["unit"], "MainPID", "InvocationID")
        assert shown == {"MainPID": str(item["main_pid"]), "InvocationID": item["invocation_id"]}
    with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
        begun.until("instance", state="starting")
        assert_shape(stage.status()["rollout"], ROLLOUT)
        everything = stage.json("status")
        assert [item["app"] for item in everything["apps"]] == [APP]
        stage.admit()
        begun.end()


def test_history_has_the_keys_of_the_contract(stage: Stage) -> None:
    stage.deploy("v1")
    stage.rollout(stage.release("bad", "crash"))
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    history = stage.json("history", APP)
    assert history["app"] == APP
    for item in history["generations"]:
        assert_shape(item, GENERATION)
    assert [(item["generation"], item["result"]) for item in history["generations"]] == [
        (3, "succeeded"),
        (2, "rolled-back"),
        (1, "succeeded"),
    ]
    with stage.begin("rollout", "--release", stage.release("v3"), "--canary", "1") as begun:
        begun.until("paused")
        newest = stage.history()[0]
        assert (newest["result"], newest["finished"], newest["duration"]) == ("running", None, None)
        assert stage.deployd("resume", APP).returncode == 0
        begun.end()


def test_each_event_is_a_line_and_finished_is_the_last(stage: Stage) -> None:
    stage.deploy("v1")
    done = stage.deployd("rollout", APP, "--release", stage.release("v2"), "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events[::-1]].index("finished") == 0
    for event in events:
        assert_shape(event, {"event": str, "app": str, "time": TIME, "from": int, "to": int})
        assert (event["from"], event["to"]) == (1, 2)
    assert [event["event"] for event in events].count("finished") == 1
    assert_shape(events[-1], {"result": str, "reason": str, "generation": int, "replaced": list, "adopted": list})


@pytest.mark.thorough
def test_units_diff_shows_what_apply_would_change(stage: Stage) -> None:
    stage.configure(release=stage.release("v1"))
    new = stage.deployd("units", APP, "--diff").stdout
    for unit in (f"{APP}.socket", f"{APP}.service", f"{APP}@.service"):
        assert re.search(rf"^\+\+\+ .*{re.escape(unit)}", new, re.MULTILINE), unit
    assert stage.change("apply").result == "succeeded"
    assert stage.deployd("units", APP, "--diff").stdout == ""
    stage.configure(service={"MemoryMax": "512M"})
    changed = stage.deployd("units", APP, "--diff").stdout.splitlines()
    body = [line for line in changed if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert body == ["+MemoryMax=512M"]
    whole = stage.deployd("units", APP).stdout
    assert "MemoryMax=512M" in whole
    assert "ListenStream=127.0.0.1:8080" in whole
    installed = stage.machine.read(f"/etc/systemd/system/{APP}@.service")
    assert "MemoryMax" not in installed
    assert stage.change("apply").result == "succeeded"
    assert "MemoryMax=512M" in stage.machine.read(f"/etc/systemd/system/{APP}@.service")
    assert f"{APP}@.service" not in stage.deployd("units", APP, "--diff").stdout
    # What belongs to a generation is compared with that of the live one.
    stage.configure(release=stage.release("v2"), environment={"TOKEN": "secret"}, service={"MemoryMax": "512M"})
    changed = stage.deployd("units", APP, "--diff").stdout.splitlines()
    generation = f"/var/lib/deployd/apps/{APP}/generations/2"
    assert [line for line in changed if line.startswith("---")] == [
        f"--- {generation}/environment",
        f"--- {generation}/release",
    ]
    body = [line for line in changed if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert body[0].startswith("+TOKEN=(hidden, ")
    old, new = stage.release("v1"), stage.release("v2")
    assert body[1:] == [f'-DEPLOYD_RELEASE="{old}"', f'+DEPLOYD_RELEASE="{new}"', f"-{old}", f"+{new}"]


@pytest.mark.thorough
def test_the_journal_has_a_rollout_with_its_fields(stage: Stage) -> None:
    stage.deploy("v1")
    stage.journal.restart()
    ended = stage.rollout(stage.release("bad", "crash"))
    entries = [entry for entry in stage.journal.entries() if entry.get("SYSLOG_IDENTIFIER") == "deployd"]
    about = [entry for entry in entries if entry.get("DEPLOYD_APP") == APP and "MESSAGE_ID" in entry]
    assert [ended.reason in entry["MESSAGE"] for entry in about].count(True) == 1, about
    assert about[-1]["DEPLOYD_REASON"] == ended.reason
    assert about[-1]["MESSAGE"] == f"{APP}: rollout of generation 2 rolled-back, generation 1 is live"
    assert {entry["DEPLOYD_GENERATION"] for entry in about} == {"2"}
    assert {entry["UNIT"] for entry in about} == {f"{APP}.service", f"{APP}@5.service"}
    explained = stage.machine.run(["journalctl", "--catalog", "--output=short", f"DEPLOYD_APP={APP}"]).stdout
    assert "Subject: " in explained


@pytest.mark.thorough
def test_systemctl_status_of_the_app_shows_its_rollouts(stage: Stage) -> None:
    stage.deploy("v1")
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    stage.machine.run(["journalctl", "--sync"])
    for command in (["systemctl", "status", "--no-pager", f"{APP}.service"], ["journalctl", f"--unit={APP}.service"]):
        assert f"{APP}: rollout of generation 2 succeeded" in stage.machine.run(command).stdout, command


@pytest.mark.thorough
def test_check_accepts_a_valid_file(stage: Stage) -> None:
    stage.configure(release=stage.release("v1"))
    done = stage.deployd("check", APP)
    assert (done.returncode, done.stderr) == (0, "")
    answer = stage.json("check", APP)
    assert answer == {"apps": [{"app": APP, "file": APP_FILE, "valid": True, "error": None, "warnings": []}]}


def test_plan_and_apply_say_what_the_app_file_changes(stage: Stage) -> None:
    """Values are for root only, and never those of variables."""
    stage.deploy("v1", environment={"KEY": "secret"})
    stage.configure(environment={"KEY": "other", "MORE": "1"}, service={"TasksMax": "64"})
    expected = ["  ~ environment.KEY", "  + environment.MORE", '  + service.TasksMax = "64"']
    planned = stage.deployd("plan", APP)
    assert planned.stdout.splitlines()[1:4] == expected, planned
    assert "secret" not in planned.stdout
    change = {"key": "service.TasksMax", "change": "added", "before": None, "after": None}
    for user, value in ((None, "64"), ("nobody", None)):
        done = stage.machine.run(["deployd", "plan", APP, "--json"], user=user)
        assert {**change, "after": value} in json.loads(done.stdout)["changes"], user
    drift = f"  the app file has 3 changed keys, see deployd plan {APP}; apply with: deployd apply {APP}"
    assert stage.deployd("status", APP).stdout.splitlines()[-1] == drift
    applied = stage.deployd("apply", APP)
    assert applied.stdout.splitlines()[:4] == [f"{APP}: the app file changes", *expected], applied
    assert stage.json("plan", APP)["changes"] == []
    assert "changed key" not in stage.deployd("status", APP).stdout


@pytest.mark.thorough
def test_status_says_that_the_link_leads_elsewhere_and_that_the_file_is_invalid(stage: Stage) -> None:
    stage.machine.run(["ln", "-sfn", stage.release("v1"), "/srv/current"])
    stage.configure(release="/srv/current")
    assert stage.change("apply").result == "succeeded"
    stage.machine.run(["ln", "-sfn", stage.release("v2"), "/srv/current"])
    words = stage.deployd("status", APP).stdout.splitlines()[-1]
    assert words == f"  release leads to /srv/{APP}/v2 now; roll it out with: deployd rollout {APP}"
    stage.machine.write(APP_FILE, "instances = many\n")
    assert stage.deployd("status", APP).stdout.splitlines()[-1].startswith(f"  the app file is invalid: {APP_FILE}")
