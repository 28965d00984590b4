"""deployd run: a command in the live release with all that an instance has, and no more rights than its caller."""

from __future__ import annotations

import os
import select
import signal
import subprocess

import pytest

from tests.host.begun import DEADLINE
from tests.host.stage import APP, RELEASES, Stage

SHOW = """\
#!/bin/sh
echo "$(id -un) $(pwd) $DEPLOYD_GENERATION $KEY $*"
cat
echo problem >&2
exit 7
"""
FILES = {"bin/show": SHOW}


def deploy(stage: Stage, **settings: object) -> None:
    release = stage.release("v1", files=FILES)
    wanted: dict[str, object] = {"user": "www-data", "environment": {"KEY": "value"}, "instances": 1, **settings}
    stage.configure(release=release, **wanted)
    assert stage.change("apply").result == "succeeded"


def units(stage: Stage) -> str:
    return stage.machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}:run-*"]).stdout


def test_input_output_and_exit_status_are_those_of_the_command(stage: Stage) -> None:
    deploy(stage, service={"LimitNOFILE": 333})
    argv = ["deployd", "run", APP, "--", "bin/show", "a b", "$HOME", "%i"]
    pipe = subprocess.PIPE
    with stage.machine.popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        out, err = process.communicate("\0 of a file", timeout=DEADLINE)
    assert out == f"www-data {RELEASES}/v1 1 value a b $HOME %i\n\0 of a file"
    assert (process.returncode, err) == (7, "problem\n")
    assert units(stage) == ""
    found = stage.deployd("run", APP, "--", "sh", "-c", "ulimit -n; kill -TERM $$")
    assert (found.returncode, found.stdout) == (128 + signal.SIGTERM, "333\n"), "by the PATH of the app"
    assert stage.deployd("run", APP, "--", "nonexistent-program").returncode == 127
    journal = stage.machine.run(["journalctl", "--unit=deployd", "--output=cat"]).stdout
    assert f"{APP}: user 0 runs bin/show 'a b' '$HOME' %i in generation 1 as {APP}:run-" in journal


@pytest.mark.thorough
def test_a_release_of_another_generation_has_its_settings(stage: Stage) -> None:
    deploy(stage)
    stage.configure(environment={"KEY": "newer"})
    assert stage.rollout(stage.release("v2", files=FILES)).result == "succeeded"
    assert " 2 newer" in stage.deployd("run", APP, "--", "bin/show").stdout
    assert " 1 value" in stage.deployd("run", APP, "--release", f"{RELEASES}/v1", "--", "bin/show").stdout
    refused = stage.deployd("run", APP, "--release", "/srv/other", "--", "bin/show")
    assert (refused.returncode, "no generation of demo has the release /srv/other" in refused.stderr) == (3, True)
    assert stage.deployd("run", "other", "--", "true").returncode == 4


@pytest.mark.thorough
def test_a_command_ends_with_its_caller(stage: Stage) -> None:
    deploy(stage)
    process = stage.machine.popen(["deployd", "run", APP, "--", "sleep", "1000"])
    stage.machine.wait_for(lambda: "activating" in units(stage), timeout=DEADLINE, what="the command to run")
    process.kill()
    process.wait()
    stage.machine.wait_for(lambda: units(stage) == "", timeout=DEADLINE, what="the command to be stopped")


@pytest.mark.thorough
def test_a_command_continues_when_the_daemon_is_restarted(stage: Stage) -> None:
    deploy(stage)
    process = stage.machine.popen(["deployd", "run", APP, "--", "sleep", "1000"])
    stage.machine.wait_for(lambda: "activating" in units(stage), timeout=DEADLINE, what="the command to run")
    before = units(stage)
    stage.machine.run(["systemctl", "restart", "deployd.service"])
    assert process.wait(DEADLINE) == 5
    assert units(stage) == before
    assert stage.deployd("remove", APP).returncode == 0
    assert units(stage) == "", "it belongs to the app"


@pytest.mark.thorough
def test_on_a_terminal_the_command_has_one_of_its_own(stage: Stage) -> None:
    deploy(stage)
    master, slave = os.openpty()
    subprocess.run(["stty", "rows", "24", "cols", "80"], stdin=slave, check=True)
    script = 'tty; stty size; echo "$TERM"; read word && echo "got $word"; exit 5'
    argv = ["deployd", "run", APP, "--", "sh", "-c", script]
    process = stage.machine.popen(argv, env={"TERM": "xterm-256color"}, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    while select.select([master], [], [], DEADLINE)[0]:
        try:
            seen += (data := os.read(master, 1024))
        except OSError:  # EIO: nothing has it open any more
            break
        if b"xterm" in data:
            os.write(master, b"hello\r")
    os.close(master)
    lines = seen.decode().split()
    assert process.wait(DEADLINE) == 5, lines
    assert {"24", "80", "xterm-256color", "got"} <= set(lines), lines
    assert any(line.startswith("/dev/pts/") for line in lines), lines


def test_a_user_needs_consent_and_never_gets_root(stage: Stage) -> None:
    deploy(stage)
    stage.machine.run(["useradd", "--create-home", "alice"], check=False)
    refused = stage.deployd("run", APP, "--", "id", "-un", user="alice")
    assert (refused.returncode, "org.deployd1.run" in refused.stderr) == (3, True), refused
    rule = (
        'polkit.addRule(function(action, subject) { if (action.id == "org.deployd1.run" && subject.user == "alice"'
        f' && action.lookup("app") == "{APP}" && action.lookup("command") == "id -un") return "yes"; }});'
    )
    stage.machine.write("/etc/polkit-1/rules.d/10-run.rules", rule)
    stage.machine.wait_for(
        lambda: stage.deployd("run", APP, "--", "id", "-un", user="alice").stdout == "www-data\n",
        timeout=DEADLINE,
        what="polkit to read the rule",
    )
    assert stage.deployd("run", APP, "--", "id", user="alice").returncode == 3
    stage.configure(user=None)
    assert stage.change("apply").result == "succeeded"
    refused = stage.deployd("run", APP, "--", "id", "-un", user="alice")
    assert (refused.returncode, "only root may run commands" in refused.stderr) == (3, True), refused
    assert stage.deployd("run", APP, "--", "id", "-un").stdout == "root\n"
