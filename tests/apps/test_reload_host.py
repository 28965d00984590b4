"""`systemctl reload NAME` is a rollout; `systemctl reload deployd` reads the app files again."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, APP_FILE, INSTANCES, RELEASES, Stage
from tests.sample_apps.release import app_file

CURRENT = f"{RELEASES}/current"


def point(stage: Stage, release: str) -> str:
    """Let the symlink `current` point to a release; return its path."""
    stage.machine.run(["ln", "-sfn", release, CURRENT])
    return CURRENT


def deploy(stage: Stage, **settings: object) -> None:
    point(stage, stage.release("v1"))
    stage.configure(release=CURRENT, **settings)
    assert stage.change("apply").result == "succeeded"


def test_reload_rolls_out_the_release_that_the_link_points_to(stage: Stage) -> None:
    deploy(stage)
    point(stage, stage.release("v2"))
    with stage.load() as load:
        done = stage.machine.run(["systemctl", "reload", APP], check=False)
        after = stage.status()  # reload has waited for the end
        record = load.stop()
    assert done.returncode == 0, done.stderr
    assert (after["generation"], after["release"], after["ready"]) == (2, f"{RELEASES}/v2", INSTANCES)
    assert not record.failed, record.by_outcome()
    assert set(record.generations()) == {1, 2}
    row = stage.history()[0]
    assert (row["cause"], row["result"], row["release"]) == ("reload", "succeeded", f"{RELEASES}/v2")


@pytest.mark.thorough
def test_reload_fails_if_the_rollout_fails(stage: Stage) -> None:
    deploy(stage)
    before = stage.invocations()
    point(stage, stage.release("v2", "crash"))
    with stage.load(rate=100) as load:
        done = stage.machine.run(["systemctl", "reload", APP], check=False)
        record = load.stop()
    assert done.returncode != 0
    assert f"Job for {APP}.service failed" in done.stderr
    assert not record.failed, record.by_outcome()
    assert stage.invocations() == before
    shown = stage.show(f"{APP}.service", "ActiveState", "SubState")
    assert shown == {"ActiveState": "active", "SubState": "exited"}
    assert [(row["cause"], row["result"]) for row in stage.history()] == [
        ("reload", "rolled-back"),
        ("apply", "succeeded"),
    ]
    point(stage, stage.release("v3"))
    stage.machine.run(["systemctl", "reload", APP])
    assert stage.get()["version"] == "v3"


@pytest.mark.thorough
def test_reload_reads_the_app_file_again(stage: Stage) -> None:
    deploy(stage, environment={"WORD": "one"})
    stage.configure(environment={"WORD": "two"}, instances=6)
    stage.machine.run(["systemctl", "reload", APP])
    status = stage.status()
    assert (status["desired"], status["ready"]) == (6, 6)
    for number, ran in stage.invocations().items():
        assert (ran.generation, stage.process(number)[1]["WORD"]) == (2, "two")


@pytest.mark.thorough
def test_reload_of_a_broken_app_file_is_refused(stage: Stage) -> None:
    deploy(stage)
    before = stage.invocations()
    stage.machine.write(APP_FILE, "instances = 'four'\n")
    done = stage.machine.run(["systemctl", "reload", APP], check=False)
    assert done.returncode != 0
    assert stage.invocations() == before
    assert len(stage.history()) == 1


def test_reload_of_deployd_reads_the_app_files_again_and_affects_no_instance(stage: Stage) -> None:
    deploy(stage)
    before = stage.invocations()
    stage.journal.restart()
    broken = app_file("broken", f"{RELEASES}/v1", 8081).replace("instances = 4", "instances = 'four'")
    stage.machine.write("/etc/deployd/apps/broken.toml", broken)
    stage.machine.run(["systemctl", "reload", "deployd"])

    def complained() -> list[str]:
        warnings = [str(entry.get("MESSAGE")) for entry in stage.journal.entries() if entry.get("PRIORITY") == "4"]
        return [message for message in warnings if message.startswith("/etc/deployd/apps/broken.toml")]

    [complaint] = stage.machine.wait_for(complained, what="a complaint about broken.toml")
    line = broken.splitlines().index("instances = 'four'") + 1
    assert complaint.startswith(f"/etc/deployd/apps/broken.toml:{line}: instances")
    assert stage.invocations() == before
    assert stage.rollout(stage.release("v2")).result == "succeeded"


@pytest.mark.thorough
def test_what_is_live_stays_live(stage: Stage) -> None:
    """Only a release of the app file that leads elsewhere than when it was last applied replaces the live one."""
    deploy(stage, instances=1)
    v1, v2 = f"{RELEASES}/v1", stage.release("v2")
    began = [stage.rollout(v2)]
    for verb, *argv in (["apply"], ["rollout"], ["restart"], ["scale", "2"]):
        stage.configure(environment={"WORD": verb})
        began.append(stage.change(verb, *argv))
    started = [next(event for event in ended.events if event["event"] == "started") for ended in began]
    assert [(event["from_release"], event["release"]) for event in started] == [(v1, v2), *[(v2, v2)] * 4]
    stage.machine.run(["systemctl", "reload", APP])
    status = stage.status()
    assert (status["generation"], status["release"], status["desired"]) == (7, v2, 2), "the number stays as well"
    point(stage, stage.release("v3", "crash"))
    assert stage.change("apply").result == "rolled-back"
    refused = stage.deployd("rollback", APP)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "generation 8 of demo was rolled back automatically, and generation 7 is current again" in refused.stderr
    assert "run deployd rollback demo --to 6" in refused.stderr
    assert stage.change("rollback", "--to", "1").status == 0
    assert stage.get()["version"] == "v1"
    doubtful = stage.change("rollback", "--to", "8")  # it is tried, with a warning
    assert doubtful.result == "rolled-back"
    assert "never went live" in next(event["reason"] for event in doubtful.events if event["event"] == "warning")
    point(stage, stage.release("v4"))
    stage.machine.run(["systemctl", "reload", APP])
    assert stage.status()["release"] == f"{RELEASES}/v4"
    stage.machine.run(["mv", v1, f"{v1}.gone"])
    gone = stage.deployd("rollback", APP, "--to", "1")
    assert gone.returncode == 3
    assert v1 in gone.stderr
