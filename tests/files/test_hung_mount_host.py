"""The file system of one app hangs, like a network mount whose server is down: its requests fail with a clear sentence,
and other apps are not affected."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from deployd.errors import ExitStatus
from tests.host.hanging import HangingMount
from tests.host.machine import Machine
from tests.host.stage import APP, DEADLINE, INSTANCES, Stage
from tests.sample_apps.release import app_file, make_release

pytestmark = pytest.mark.thorough

MOUNT = "/srv/hung"
HUNG = "hung"
"""An app whose release is on the mount."""
LINKED = "linked"
"""An app whose app file is on the mount, through a symlink."""
SENTENCE = "has not responded for 10 s; check that the file systems of its app file and release are mounted"
OTHER = "has been in preparation for more than 10 s; try again later"
ASKED = (
    ("Rollout", "a{sv}", "0"),
    ("Restart", "a{sv}", "0"),
    ("Plan", "a{sv}", "0"),
    ("Releases",),
    ("Units",),
    ("Describe",),
)

QUICK = 5.0
"""Seconds for a reply that does not wait for the mount; checks of files on it are given up after 10."""


@pytest.fixture
def mount(machine: Machine) -> Iterator[HangingMount]:
    made = HangingMount(machine, MOUNT)
    yield made
    made.remove()


def release(mount: HangingMount, version: str, boot: float = 0.0) -> str:
    make_release(mount.machine.path(f"{mount.real}/{version}"), version, boot=boot)
    return f"{mount.directory}/{version}"


def deploy(stage: Stage, mount: HangingMount) -> None:
    """Deploy three apps, two of them on the mount."""
    machine = stage.machine
    # systemd enters the release before it runs ExecStopPost=, so a stop waits for the mount until its timeout.
    hung = app_file(HUNG, release(mount, "v1"), 8081, instances=2, stop={"timeout": "2s"})
    machine.write(f"/etc/deployd/apps/{HUNG}.toml", hung)
    machine.write(f"{mount.real}/{LINKED}.toml", app_file(LINKED, release(mount, "v1"), 8082, instances=1))
    machine.path(f"/etc/deployd/apps/{LINKED}.toml").symlink_to(f"{mount.directory}/{LINKED}.toml")
    for app in (HUNG, LINKED):
        assert stage.deployd("apply", app).returncode == 0
    stage.deploy("v1")


def call(stage: Stage, app: str, *asked: str) -> subprocess.Popen[str]:
    """Begin a request that will wait, with a client that is cheaper than the command."""
    command = ["busctl", "call", "--timeout=60", "org.deployd1", f"/org/deployd1/app/{app}", "org.deployd1.App", *asked]
    return stage.machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def succeeds(stage: Stage, verb: str, *argv: str) -> None:
    ended = stage.change(verb, *argv)
    assert (ended.status, ended.result) == (0, "succeeded"), ended


def main_pid(stage: Stage) -> str:
    return stage.show("deployd.service", "MainPID")["MainPID"]


def test_other_apps_are_not_delayed_and_the_app_recovers_with_its_mount(stage: Stage, mount: HangingMount) -> None:
    deploy(stage, mount)
    v2, v3 = stage.release("v2"), stage.release("v3")
    with stage.load(rate=100) as load:
        succeeds(stage, "rollout", "--release", v2)
        daemon = main_pid(stage)
        with mount.hung():
            # More requests than there are places, and than asyncio's executor has threads.
            stuck = [call(stage, app, *asked) for app in (HUNG, LINKED) for asked in ASKED * 4]
            succeeds(stage, "rollout", "--release", v3)
            succeeds(stage, "rollback")
            for argv in (["status"], ["status", HUNG], ["status", LINKED], ["history", HUNG], ["check", APP]):
                assert stage.deployd(*argv, timeout=QUICK).returncode == 0, argv
            for process in stuck:
                _, said = process.communicate(timeout=60)
                assert process.returncode == 0 or SENTENCE in said or OTHER in said, said
            refused = stage.deployd("rollout", HUNG)
            assert (refused.returncode, SENTENCE in refused.stderr) == (3, True), refused
        assert not load.stop().failed
    assert stage.deployd("rollout", HUNG, "--release", release(mount, "v2")).returncode == 0
    assert stage.deployd("rollout", LINKED).returncode == ExitStatus.NOTHING_RESTARTED
    assert main_pid(stage) == daemon


def test_queries_fail_at_once_while_the_mount_is_known_to_hang(stage: Stage, mount: HangingMount) -> None:
    deploy(stage, mount)
    with mount.hung():
        for limit in (DEADLINE, DEADLINE, QUICK, QUICK):
            refused = stage.deployd("plan", HUNG, user="nobody", timeout=limit)
            assert (refused.returncode, SENTENCE in refused.stderr) == (3, True), refused
        for argv in (["check", APP], ["units", APP], ["status", HUNG]):
            assert stage.deployd(*argv, user="nobody", timeout=QUICK).returncode == 0, argv
    assert stage.deployd("plan", HUNG, user="nobody").returncode == 0


def test_a_rollout_pauses_and_a_rollback_waits_for_the_mount(stage: Stage, mount: HangingMount) -> None:
    stage.configure(release=release(mount, "v1"))
    assert stage.change("apply").result == "succeeded"
    with stage.begin("rollout", "--release", release(mount, "v2", boot=0.5)) as begun:
        begun.until("instance", state="ready")
        begun.until("instance", state="ready")
        with mount.hung():
            assert SENTENCE in begun.until("paused")["reason"]
            assert stage.deployd("abort", APP, timeout=QUICK).returncode == 0
            begun.until("rolling-back")
        ended = begun.end()  # without another request
    assert ended.result == "aborted", ended
    status = stage.status()
    assert [item["generation"] for item in status["instances"] if item["ready"]] == [1] * INSTANCES, status


def test_a_paused_rollout_is_resumed_when_the_mount_is_back(stage: Stage, mount: HangingMount) -> None:
    deploy(stage, mount)
    target = release(mount, "v2")
    machine = stage.machine
    began = machine.run(["deployd", "rollout", HUNG, "--release", target, "--canary", "1", "--no-block"])
    assert began.returncode == 0
    machine.wait_for(lambda: (stage.json("status", HUNG)["rollout"] or {}).get("phase") == "paused", what="the pause")
    with mount.hung():
        refused = stage.deployd("resume", HUNG)
        assert (refused.returncode, SENTENCE in refused.stderr) == (3, True), refused
        assert stage.deployd("status", timeout=QUICK).returncode == 0
    assert stage.deployd("resume", HUNG).returncode == 0
    machine.wait_for(lambda: stage.json("status", HUNG)["rollout"] is None, what="the end of the rollout")
    assert stage.json("history", HUNG)["generations"][0]["result"] == "succeeded"


def test_an_app_on_the_mount_can_be_removed(stage: Stage, mount: HangingMount) -> None:
    """Removal does not read the release; a request that waits for the mount is refused then."""
    deploy(stage, mount)
    threads = stage.machine.path(f"/proc/{main_pid(stage)}/task")
    with mount.hung():
        waiting = call(stage, HUNG, "Rollout", "a{sv}", "0")
        stage.machine.wait_for(
            lambda: any("fuse" in (thread / "stack").read_text() for thread in threads.iterdir()),
            what="the check of the release",
        )
        done = stage.deployd("remove", HUNG, timeout=QUICK)
        assert done.returncode == 0, done
        _, said = waiting.communicate(timeout=QUICK)
        assert f"{HUNG} is being removed" in said
    assert [app["app"] for app in stage.json("status")["apps"] if app["instances"]] == [APP, LINKED]


def test_the_daemon_stops_and_starts_while_the_mount_hangs(stage: Stage, mount: HangingMount) -> None:
    deploy(stage, mount)
    machine = stage.machine
    with mount.hung():
        waits = machine.popen(["deployd", "rollout", HUNG], stderr=subprocess.PIPE)
        machine.run(["systemctl", "reload", "deployd"])
        assert stage.deployd("rollout", LINKED).returncode == 3  # this app waits for the mount as well by now
        machine.run(["systemctl", "restart", "deployd"])
        assert stage.deployd("status", timeout=QUICK).returncode == 0
        succeeds(stage, "restart")
        machine.run(["systemctl", "stop", "deployd"])
        shown = stage.show("deployd.service", "Result", "ExecMainStatus")
        assert shown == {"Result": "success", "ExecMainStatus": "0"}
        machine.run(["systemctl", "start", "deployd"])
        waits.communicate(timeout=30)
    assert stage.status()["ready"] == INSTANCES
    assert stage.deployd("rollout", HUNG).returncode == ExitStatus.NOTHING_RESTARTED
