"""A timer runs the release that is live when its time comes: before, during and after a rollout or a rollback."""

from __future__ import annotations

from typing import Any

import pytest

from tests.host.stage import APP, DEADLINE, INSTANCES, RELEASES, Stage

TIMER, SERVICE = f"{APP}:nightly.timer", f"{APP}:nightly.service"
SAID = f"{RELEASES}/said"
GO = f"{SAID}/go"
UNITS = "/etc/systemd/system"
RECORD = f"""\
#!/bin/sh
echo "$DEPLOYD_GENERATION $(id -un) $(basename "$(pwd -P)") $1 $SHARED $OWN $DEPLOYD_PROCESS" >> {SAID}/lines
echo looking for work
[ ! -e {SAID}/wait ] || while [ ! -e {GO} ]; do sleep 0.1; done
exit $(cat {SAID}/status 2>/dev/null)
"""
FILES = {"bin/record": RECORD}
NIGHTLY: dict[str, Any] = {"schedule": "*-01-01", "exec": ["bin/record", "a b"], "environment": {"OWN": "$HOME"}}


def deploy(stage: Stage, **timer: object) -> None:
    stage.machine.run(["install", "-d", "-m", "777", SAID])
    stage.configure(
        release=stage.release("v1", files=FILES),
        user="www-data",
        environment={"SHARED": "shared"},
        process={"nightly": {**NIGHTLY, **timer}},
    )
    assert stage.change("apply").result == "succeeded"


def lines(stage: Stage) -> list[str]:
    path = stage.machine.path(f"{SAID}/lines")
    return path.read_text().splitlines() if path.exists() else []


def run(stage: Stage) -> str:
    """Start the service as its timer does, and return what it has written."""
    stage.systemctl("start", SERVICE)
    return lines(stage)[-1]


def line(generation: int, release: str) -> str:
    return f"{generation} www-data {release} a b shared $HOME nightly"


def timer(stage: Stage) -> dict[str, Any]:
    (found,) = stage.status()["timers"]
    return dict(found)


def is_waiting(stage: Stage) -> bool:
    return stage.show(TIMER, "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "waiting"}


@pytest.fixture
def own(own_stage: Stage) -> Stage:
    return own_stage


def test_it_runs_the_live_release(own: Stage) -> None:
    stage = own
    deploy(stage)
    assert is_waiting(stage)
    assert run(stage) == line(1, "v1")
    begun = stage.begin("rollout", "--release", stage.release("v2", files=FILES, barrier=True))
    begun.until("instance", state="starting")
    assert run(stage) == line(1, "v1")
    stage.admit()
    assert begun.end().result == "succeeded"
    assert run(stage) == line(2, "v2")
    assert stage.change("rollback").result == "succeeded"
    assert run(stage) == line(3, "v1")
    assert stage.rollout(stage.release("bad", "crash", files=FILES)).result == "rolled-back"
    assert run(stage) == line(3, "v1")
    stage.machine.run(["systemctl", "mask", "deployd.service"])
    stage.close()
    stage.machine.reboot()
    stage.machine.wait_unit(TIMER)
    assert run(stage) == line(3, "v1")
    stage.machine.run(["systemctl", "unmask", "deployd.service"])
    stage.machine.run(["systemctl", "start", "deployd.service"])
    assert timer(stage)["generation"] == 3


@pytest.mark.thorough
def test_it_runs_at_its_times_while_the_app_is_up(stage: Stage) -> None:
    deploy(stage, schedule=["*:*:*", "*-01-01"])
    stage.machine.wait_for(lambda: len(lines(stage)) > 1, timeout=DEADLINE, what="two runs")
    assert set(lines(stage)) == {line(1, "v1")}
    stage.systemctl("stop", APP)
    assert not is_waiting(stage)
    stage.systemctl("start", APP)
    before = len(lines(stage))
    stage.machine.wait_for(lambda: len(lines(stage)) > before, timeout=DEADLINE, what="another run")
    # A timer that was stopped stays so, and one that is gone from the app file is gone.
    stage.systemctl("stop", TIMER)
    assert stage.rollout(stage.release("v2", files=FILES)).result == "succeeded"
    assert not is_waiting(stage)
    stage.systemctl("start", TIMER)
    stage.configure(process=None)
    assert stage.change("apply").result == "succeeded"
    assert stage.status()["timers"] == []
    assert list(stage.machine.path(UNITS).rglob("demo:*")) == []


@pytest.mark.thorough
def test_a_run_that_takes_long_ends_as_it_would(stage: Stage) -> None:
    deploy(stage)
    machine = stage.machine
    machine.write(f"{SAID}/wait", "")
    stage.systemctl("start", "--no-block", SERVICE)
    machine.wait_for(lambda: lines(stage), timeout=DEADLINE, what="the run")
    assert timer(stage)["running"]
    release = stage.release("v2", files=FILES)
    for number in range(2, 14):  # more than the generations that are kept in any case
        settings: dict[str, object] = {"process": None} if number == 13 else {}
        stage.configure(release=release, environment={"SHARED": str(number)}, **settings)
        assert stage.change("apply").result == "succeeded"
    assert machine.path(f"/var/lib/deployd/apps/{APP}/generations/1/run.nightly").exists()
    assert [item["timer"] for item in stage.status()["timers"]] == ["nightly"]
    releases = {item["release"]: item for item in stage.json("releases", APP)["releases"]}
    assert releases[f"{RELEASES}/v1"]["why"].startswith("a run of nightly is under way")
    assert stage.show(SERVICE, "ActiveState") == {"ActiveState": "activating"}
    assert not machine.path(f"{UNITS}/{TIMER}").exists()
    machine.write(GO, "")
    machine.wait_for(lambda: stage.status()["timers"] == [], timeout=DEADLINE, what="the end of the run")
    assert not machine.path(f"{UNITS}/{SERVICE}").exists()
    assert len(lines(stage)) == 1


def test_a_failed_run_is_shown(stage: Stage) -> None:
    deploy(stage)
    assert (timer(stage)["result"], timer(stage)["failed"]) == (None, False)
    stage.machine.write(f"{SAID}/status", "3")
    assert stage.systemctl("start", SERVICE, check=False).returncode == 1
    found = timer(stage)
    assert (found["result"], found["exit_status"], found["failed"]) == ("exit-code", 3, True)
    assert found["generation"] == 1
    assert SERVICE in stage.machine.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout
    logged = stage.deployd("logs", APP, "nightly").stdout
    assert f"{APP}:nightly gen 1 | looking for work\n" in logged
    assert f"{APP}:nightly | systemd: Main process exited, code=exited, status=3" in logged
    assert f"{APP}@1" not in logged
    assert "looking for work" in stage.deployd("logs", APP, "--generation", "1").stdout
    assert stage.status()["ready"] == INSTANCES


@pytest.mark.thorough
def test_a_run_ends_with_the_app_and_not_with_a_restart_of_it(stage: Stage) -> None:
    deploy(stage)
    stage.machine.write(f"{SAID}/wait", "")
    stage.systemctl("start", "--no-block", SERVICE)
    stage.machine.wait_for(lambda: lines(stage), timeout=DEADLINE, what="the run")
    run = stage.show(SERVICE, "InvocationID", "ActiveState")
    assert run["ActiveState"] == "activating"
    stage.systemctl("restart", APP)
    assert stage.show(SERVICE, "InvocationID", "ActiveState") == run
    assert is_waiting(stage)
    stage.systemctl("stop", APP)
    stage.machine.wait_unit(SERVICE, "failed")
    assert not is_waiting(stage)
    assert len(lines(stage)) == 1


@pytest.mark.thorough
def test_nothing_is_left_of_it(stage: Stage) -> None:
    deploy(stage, persistent=True)
    assert run(stage) == line(1, "v1")
    printed = stage.deployd("units", APP).stdout
    assert f"{UNITS}/{TIMER}" in printed
    assert stage.deployd("units", APP, "--diff").stdout == ""
    done = stage.deployd("remove", APP)
    assert done.returncode == 0, done
    assert list(stage.machine.path(UNITS).rglob(f"{APP}*")) == []
    assert list(stage.machine.path("/var/lib/systemd/timers").glob(f"*{APP}*")) == []
    listed = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}:*"]
    assert stage.machine.run(listed).stdout == ""


@pytest.mark.thorough
def test_its_command_can_be_run_now(stage: Stage) -> None:
    deploy(stage, service={"LimitNOFILE": 333})
    stage.machine.write(f"{SAID}/status", "3")
    assert stage.deployd("run", APP, "--process", "nightly").returncode == 3
    assert lines(stage) == [line(1, "v1")]
    found = stage.deployd("run", APP, "--process", "nightly", "--", "sh", "-c", "ulimit -n; echo $DEPLOYD_PROCESS $OWN")
    assert (found.returncode, found.stdout) == (0, "333\nnightly $HOME\n")
    refused = stage.deployd("run", APP, "--process", "hourly")
    assert (refused.returncode, 'no process "hourly"; there are: web, nightly' in refused.stderr) == (2, True)
    assert stage.deployd("run", APP).returncode == 2
    # Never two at a time: not by hand while one is under way, and not by the clock during one by hand.
    stage.machine.write(f"{SAID}/wait", "")
    stage.systemctl("start", "--no-block", SERVICE)
    stage.machine.wait_for(lambda: len(lines(stage)) == 2, timeout=DEADLINE, what="the run")
    refused = stage.deployd("run", APP, "--process", "nightly")
    assert (refused.returncode, f"a run of nightly is under way as {SERVICE}" in refused.stderr) == (3, True)
    stage.systemctl("stop", SERVICE)
    stage.systemctl("reset-failed", SERVICE)
    process = stage.machine.popen(["deployd", "run", APP, "--process", "nightly"])
    stage.machine.wait_for(lambda: len(lines(stage)) == 3, timeout=DEADLINE, what="the run by hand")
    stage.systemctl("start", "--no-block", SERVICE)
    waiting = stage.show(SERVICE, "ActiveState", "Job")
    stage.machine.write(GO, "")
    assert process.wait(DEADLINE) == 3
    assert (waiting["ActiveState"], bool(waiting["Job"])) == ("inactive", True)
    stage.machine.wait_for(lambda: len(lines(stage)) == 4, timeout=DEADLINE, what="the run that waited")


@pytest.mark.thorough
def test_secrets_are_those_of_the_generation(stage: Stage) -> None:
    """Environment file and credential are of the generation, and only the timer has its credential."""
    script = f'#!/bin/sh\necho "$SECRET $(cat "$CREDENTIALS_DIRECTORY/key")" >> {SAID}/lines\n'
    files = {"bin/record": script}
    machine = stage.machine
    machine.run(["install", "-d", "-m", "777", SAID])
    machine.write("/etc/default/demo", "SECRET=old\n", 0o600)
    machine.write("/etc/key", "first", 0o600)
    service = {"LoadCredential": "key:/etc/key"}
    stage.configure(
        release=stage.release("v1", files=files),
        user="www-data",
        environment_files=["/etc/default/demo"],
        process={"nightly": {"schedule": "*-01-01", "exec": ["bin/record"], "service": service}},
    )
    assert stage.change("apply").result == "succeeded"
    machine.write("/etc/default/demo", "SECRET=new\n", 0o600)
    machine.write("/etc/key", "second", 0o600)
    assert run(stage) == "old first"
    assert stage.rollout(stage.release("v2", files=files)).result == "succeeded"
    assert run(stage) == "new second"
    assert stage.change("rollback").result == "succeeded"
    assert run(stage) == "old first"
    assert stage.deployd("run", APP, "--process", "nightly").returncode == 0
    assert lines(stage)[-1] == "old first"
    assert stage.deployd("run", APP, "--", "sh", "-c", "echo ${CREDENTIALS_DIRECTORY-none}").stdout == "none\n"
    shown = stage.deployd("units", APP, "--json").stdout
    assert "SECRET" in shown
    assert not [value for value in ("old", "first") if f"={value}" in shown or f'"{value}' in shown]


@pytest.mark.thorough
def test_with_process_types_it_follows_the_whole_app(stage: Stage) -> None:
    good, bad = "#!/bin/sh\nexec sleep 1000\n", "#!/bin/sh\nexit 1\n"
    stage.machine.run(["install", "-d", "-m", "777", SAID])
    worker = {"exec": ["bin/work"], "gate": {"type": "exec", "min_ready": "1s"}}
    stage.configure(
        release=stage.release("v1", files={**FILES, "bin/work": good}),
        user="www-data",
        environment={"SHARED": "shared"},
        process={"nightly": NIGHTLY, "worker": worker},
    )
    assert stage.change("apply").result == "succeeded"
    assert run(stage) == line(1, "v1")
    assert stage.rollout(stage.release("v2", files={**FILES, "bin/work": bad})).result == "rolled-back"
    assert run(stage) == line(1, "v1")
    assert stage.rollout(stage.release("v3", files={**FILES, "bin/work": good})).result == "succeeded"
    assert run(stage) == line(3, "v3")
    shown = stage.deployd("status", APP).stdout
    assert "nightly" in shown
    assert "worker" in shown
    assert stage.deployd("remove", APP).returncode == 0
    assert list(stage.machine.path(UNITS).rglob(f"{APP}*")) == []
