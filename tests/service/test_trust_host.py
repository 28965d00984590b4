"""What unprivileged users may see and do on the bus: attacks by a real one, and what is allowed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.attacks import service as attacks
from tests.attacks.clients import AGENT
from tests.attacks.service import SECRET, fail_with_secret, polkit_rule
from tests.host.machine import Machine
from tests.host.stage import APP, DEADLINE, INSTANCES, Stage
from tests.sample_apps.release import app_file

OTHER = "other"
AS_READER = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=systemd-journal", "--"]


@pytest.mark.sampled
@pytest.mark.parametrize("attack", attacks.ATTACKS, ids=lambda attack: attack.__name__)
def test_attack_achieves_nothing(stage: Stage, attack: attacks.Attack) -> None:
    assert attack(stage) == ""


def deploy_other(stage: Stage) -> None:
    """Deploy a second app with one instance, another port and releases of its own."""
    release = stage.machine.path(f"/srv/{OTHER}/v1")
    source = stage.machine.path(stage.release("v1"))
    release.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(source), str(release)], check=True)
    stage.machine.write(
        f"/etc/deployd/apps/{OTHER}.toml", app_file(OTHER, release=f"/srv/{OTHER}/v1", port=8090, instances=1)
    )
    assert stage.deployd("apply", OTHER).returncode == 0


def test_a_polkit_rule_allows_one_user_rollouts_of_one_app(stage: Stage) -> None:
    stage.deploy("v1")
    deploy_other(stage)
    rule = f'action.lookup("app") == "{APP}" && action.lookup("verb") == "rollout"'
    polkit_rule(stage, f'{rule} && action.lookup("release").indexOf("/srv/demo/") == 0')
    done = stage.deployd("rollout", APP, "--release", stage.release("v2"), user="nobody")
    assert done.returncode == 0, done.stderr
    assert stage.get()["version"] == "v2"
    for argv in (["rollout", OTHER], ["restart", APP], ["rollback", APP], ["remove", APP]):
        done = stage.deployd(*argv, user="nobody")
        assert (done.returncode, "needs root or the polkit action" in done.stderr) == (3, True), (argv, done)
    assert stage.get()["version"] == "v2"


@pytest.mark.thorough
def test_only_the_release_that_polkit_agreed_to_is_rolled_out(stage: Stage) -> None:
    """The link in the app file is changed between two rollouts."""
    stage.deploy("v1")
    v2, v3 = stage.release("v2"), stage.release("v3")
    stage.machine.run(["ln", "-sfn", v2, "/srv/demo/current"])
    stage.configure(release="/srv/demo/current")
    polkit_rule(stage, f'action.lookup("release") == "{v2}"')
    assert stage.deployd("rollout", APP, user="nobody").returncode == 0
    assert stage.get()["version"] == "v2"
    stage.machine.run(["ln", "-sfn", v3, "/srv/demo/current"])
    assert stage.deployd("rollout", APP, user="nobody").returncode == 3
    assert stage.get()["version"] == "v2"


@pytest.mark.thorough
def test_journal_lines_are_shown_to_users_that_may_read_the_journal(stage: Stage) -> None:
    ended = fail_with_secret(stage)
    assert SECRET in json.dumps(ended.events), "root's --json has them"
    assert SECRET in ended.stderr
    for argv in (["history", APP], ["history", APP, "--json"]):
        assert SECRET in stage.deployd(*argv).stdout
        reader = stage.machine.run([*AS_READER, "deployd", *argv], check=False)
        assert SECRET in reader.stdout, (argv, reader)
        assert SECRET not in stage.deployd(*argv, user="nobody").stdout
    shown = stage.deployd("history", APP, user="nobody").stdout
    assert "in the journal, which you may not read" in shown
    generations = json.loads(stage.deployd("history", APP, "--json", user="nobody").stdout)["generations"]
    [failure] = [row["failure"] for row in generations if row["failure"]]
    assert failure["journal"] == []
    assert failure["journal_lines"] > 0


def test_lines_of_a_failed_hook_are_shown_to_root_only(stage: Stage) -> None:
    stage.deploy("v1")
    polkit_rule(stage, "true")
    stage.configure(rollout={"hooks": {"before": [["/bin/sh", "-c", f"echo {SECRET[:9]}''{SECRET[9:]}; exit 3"]]}})
    release = stage.release("v2")
    begun = stage.begin("rollout", "--release", release)
    hook = begun.until("hook", state="failed")
    assert hook["journal"] == [SECRET]
    assert SECRET in begun.end().stderr
    done = stage.deployd("rollout", APP, "--release", release, user="nobody")
    assert done.returncode == 3
    assert SECRET not in done.stdout + done.stderr
    assert "1 line in the journal" in done.stderr


@contextmanager
def agent(machine: Machine, user: str, pid: int) -> Iterator[subprocess.Popen[str]]:
    """Run polkit's agent for a process; it never answers a prompt."""
    argv = [machine.python, "-c", AGENT, str(pid)]
    process = machine.popen(argv, user=user, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "registered\n"
        yield process
    finally:
        process.kill()
        process.communicate()


ASK = """
import asyncio, os, sys
from deployd.bus import Bus
from deployd.api import APP, NAME, app_path
async def main():
    bus = await Bus.connect()
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    await bus.call(NAME, app_path("demo"), APP, "Pause", timeout=60, interactive=True)
asyncio.run(main())
"""


@pytest.mark.thorough
def test_a_prompt_is_cancelled_when_its_caller_disconnects(stage: Stage) -> None:
    stage.deploy("v1")
    machine = stage.machine
    caller = machine.popen([machine.python, "-c", ASK], user="nobody", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert caller.stdin is not None
    assert caller.stdout is not None
    try:
        pid = int(caller.stdout.readline())
        with agent(machine, "nobody", pid) as asked:
            assert asked.stdout is not None
            caller.stdin.write("go\n")
            caller.stdin.flush()
            assert asked.stdout.readline() == "BeginAuthentication\n"
            machine.run(["kill", "-KILL", str(pid)])
            assert asked.stdout.readline() == "CancelAuthentication\n"
    finally:
        caller.kill()
        caller.wait()
        caller.stdin.close()
        caller.stdout.close()


@pytest.mark.thorough
def test_without_a_terminal_there_is_no_prompt(stage: Stage) -> None:
    """As in cron and CI: the command is refused immediately, although an agent is registered."""
    stage.deploy("v1")
    script = f"echo $$; read go; exec deployd pause {APP} </dev/null"
    machine = stage.machine
    pipe = subprocess.PIPE
    caller = machine.popen(["sh", "-c", script], user="nobody", stdin=pipe, stdout=pipe, stderr=pipe)
    assert caller.stdout is not None
    with agent(machine, "nobody", int(caller.stdout.readline())):
        _, stderr = caller.communicate("go\n", timeout=DEADLINE)
    assert caller.returncode == 3
    assert "on a terminal" in stderr
    assert stage.status()["ready"] == INSTANCES


@pytest.mark.thorough
def test_on_a_terminal_polkit_may_ask_for_a_password(stage: Stage) -> None:
    stage.deploy("v1")
    machine, pipe = stage.machine, subprocess.PIPE
    terminal, stdin = os.openpty()
    script = f"echo $$; read go; exec deployd pause {APP}"
    caller = machine.popen(["sh", "-c", script], user="nobody", stdin=stdin, stdout=pipe, stderr=pipe)
    try:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        with agent(machine, "nobody", pid) as asked:
            assert asked.stdout is not None
            os.write(terminal, b"go\n")
            assert asked.stdout.readline() == "BeginAuthentication\n"
            machine.run(["kill", "-INT", str(pid)])
            assert asked.stdout.readline() == "CancelAuthentication\n"
    finally:
        caller.kill()
        caller.communicate()
        os.close(terminal)
        os.close(stdin)
