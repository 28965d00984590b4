"""Hooks run once per rollout, as the app's user in the new release; a failed before hook changes nothing."""

from __future__ import annotations

import pytest

from tests.host.faults import kill_daemon
from tests.host.stage import APP, RELEASES, Stage

UNIT = f"{APP}:hook.service"
SAID = f"{RELEASES}/said"
GO = f"{RELEASES}/go"
RECORD = f"""\
#!/bin/sh
echo "$(id -un) $(pwd) $* key=$KEY" >> {SAID}/$DEPLOYD_HOOK
env | grep ^DEPLOYD_ | sort > {SAID}/environment-$DEPLOYD_HOOK
"""
WAIT = f"#!/bin/sh\necho waiting\nwhile [ ! -e {GO} ]; do sleep 0.1; done\n"
FAIL = "#!/bin/sh\nseq 20\nprintf 'no such table: \\033[1musers\\033[0m\\n' >&2\nexit 3\n"


def hooked(stage: Stage, *before: str, after: tuple[str, ...] = (), **options: object) -> None:
    """Deploy generation 1 without hooks, then add these to the app file, each a single word."""
    stage.deploy("v1", instances=2)
    stage.configure(
        rollout={"hooks": {"before": [[word] for word in before], "after": [[word] for word in after]} | options}
    )


def untouched(stage: Stage) -> None:
    """Check that only the first generation exists, with no unit and no file of another."""
    assert [row["generation"] for row in stage.history()] == [1]
    status = stage.status()
    assert (status["generation"], status["ready"], status["rollout"]) == (1, 2, None)
    assert stage.machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}:*"]).stdout == ""
    assert sorted(path.name for path in stage.machine.path(f"/var/lib/deployd/apps/{APP}/generations").iterdir()) == [
        "1"
    ]


def said(stage: Stage, hook: str) -> tuple[list[str], dict[str, str]]:
    """Return what RECORD wrote: a line for each run, and the environment of the last."""
    environment = stage.machine.read(f"{SAID}/environment-{hook}").splitlines()
    return stage.machine.read(f"{SAID}/{hook}").splitlines(), dict(line.partition("=")[::2] for line in environment)


def test_a_hook_runs_once_as_the_apps_user_in_the_new_release(stage: Stage) -> None:
    stage.machine.run(["install", "-d", "-m", "777", SAID])
    files = {"bin/record": RECORD}
    v1, v2 = (stage.release(version, files=files) for version in ("v1", "v2"))
    hooks = {"before": [["./bin/record", "a b", "$HOME", "%i"]]}
    stage.configure(release=v1, instances=2, user="www-data", environment={"KEY": "a b"}, rollout={"hooks": hooks})
    assert stage.change("apply").result == "succeeded"
    runs, environment = said(stage, "before")
    assert runs == [f"www-data {v1} a b $HOME %i key=a b"]
    first = {
        "APP": APP,
        "PROCESS": "web",
        "GENERATION": "1",
        "RELEASE": v1,
        "OLD_GENERATION": "",
        "OLD_RELEASE": "",
        "CAUSE": "apply",
    }
    assert environment == {f"DEPLOYD_{key}": value for key, value in first.items()} | {"DEPLOYD_HOOK": "before"}

    ended = stage.rollout(v2)
    assert ended.result == "succeeded"
    reported = [(event["event"], event.get("state")) for event in ended.events[:3]]
    assert reported == [("hook", "started"), ("hook", "succeeded"), ("started", None)]
    runs, environment = said(stage, "before")
    assert runs[1:] == [f"www-data {v2} a b $HOME %i key=a b"]
    second = {"GENERATION": "2", "RELEASE": v2, "OLD_GENERATION": "1", "OLD_RELEASE": v1, "CAUSE": "rollout"}
    assert {f"DEPLOYD_{key}": value for key, value in second.items()}.items() <= environment.items()

    assert stage.change("restart").result == stage.change("scale", "3").result == "succeeded"
    assert len(said(stage, "before")[0]) == 2, "these bring no release"
    assert stage.change("rollback").result == "succeeded"
    assert said(stage, "before")[1]["DEPLOYD_CAUSE"] == "rollback"
    stage.configure(instances=3)  # a reload that changes nothing is none
    stage.machine.run(["systemctl", "reload", APP])
    runs, environment = said(stage, "before")
    assert (len(runs), environment["DEPLOYD_CAUSE"]) == (4, "reload")


def test_a_failed_hook_changes_nothing_and_its_output_is_shown(stage: Stage) -> None:
    hooked(stage, "./bin/fail", "/bin/true")
    before = stage.invocations()
    ended = stage.rollout(stage.release("v2", files={"bin/fail": FAIL}))
    assert ended.status == 3
    lines = ended.stderr.splitlines()
    sentence = "before hook ./bin/fail exited with status 3: the rollout of demo is refused, nothing has changed"
    assert lines == [f"deployd: {sentence}", *(f"    {number}" for number in range(12, 21)), "    no such table: users"]
    started, failed, error = ended.events
    assert [(event["event"], event["state"]) for event in (started, failed)] == [
        ("hook", "started"),
        ("hook", "failed"),
    ]
    for event in (failed, error):
        assert (event["exit_status"], event["journal"][-1]) == (3, "no such table: users")
    assert (error["event"], error["error"], error["message"]) == ("error", "Refused", sentence)
    assert stage.invocations() == before
    untouched(stage)
    logs = stage.deployd("logs", APP).stdout
    assert "no such table" in logs, "its output is in the journal of the app"
    assert "before hook ./bin/fail exited with status 3" in logs

    ended = stage.rollout(stage.release("v2", files={"bin/fail": "#!/bin/sh\nexit 0\n"}))
    assert (ended.result, ended.generation) == ("succeeded", 2)


ENDS = {
    "timeout": ("#!/bin/sh\necho begun\nsleep 60\n", "did not end within 1 s", ["begun"]),
    "signal": ("#!/bin/sh\nkill -SEGV $$\n", "was killed by SIGSEGV", []),
    "not-executable": ("echo", "was not run: it cannot be executed (status 203)", None),
    "interpreter": ("#!/nonexistent\n", "was not run: it cannot be executed (status 203)", None),
}


@pytest.mark.thorough
@pytest.mark.parametrize(("script", "reason", "lines"), ENDS.values(), ids=ENDS)
def test_the_reason_of_a_failure_is_reported(stage: Stage, script: str, reason: str, lines: list[str] | None) -> None:
    hooked(stage, "./bin/x", timeout="1s")
    ended = stage.rollout(stage.release("v2", files={"bin/x": script}))
    assert ended.status == 3
    first, *rest = ended.stderr.splitlines()
    assert first.startswith(f"deployd: before hook ./bin/x {reason}: ")
    assert ": the rollout of demo is refused" in first
    assert first.count("cannot be executed") <= 1
    if lines is None:
        assert any("/srv/demo/v2/bin/x" in line for line in rest), "systemd logs the reason"
    else:
        assert [line.strip() for line in rest] == lines
    untouched(stage)


@pytest.mark.thorough
def test_a_failed_hook_refuses_a_first_deployment_too(stage: Stage) -> None:
    release = stage.release("v1", files={"bin/fail": FAIL})
    stage.configure(release=release, rollout={"hooks": {"before": [["bin/fail"]]}})
    for argv in (["apply", APP], ["apply", APP, "--no-start"]):
        done = stage.deployd(*argv)
        assert (done.returncode, "no such table" in done.stderr) == (3, True), done
    assert stage.history() == []
    assert stage.machine.run(["systemctl", "is-enabled", f"{APP}.socket"], check=False).stdout.strip() != "enabled"


@pytest.mark.thorough
def test_other_requests_are_refused_during_a_hook(stage: Stage) -> None:
    hooked(stage, "./bin/wait")
    with stage.begin("rollout", "--release", stage.release("v2", files={"bin/wait": WAIT})) as begun:
        begun.until("hook", state="started")
        assert stage.status()["rollout"] is None
        for argv in (["rollout", APP], ["scale", APP, "3"], ["restart", APP], ["remove", APP], ["abort", APP]):
            refused = stage.deployd(*argv, timeout=10)
            assert refused.returncode == 3, (argv, refused)
            assert "before hook ./bin/wait" in refused.stderr
            assert f"systemctl stop {UNIT}" in refused.stderr
        # The rollout of another app, or an administrator, may reload systemd during the hook.
        stage.machine.run(["systemctl", "daemon-reload"])
        stage.machine.run(["systemctl", "daemon-reexec"])
        stage.machine.write(GO, "")
        ended = begun.end()
    assert (ended.status, ended.result) == (0, "succeeded")


@pytest.mark.thorough
def test_a_hook_can_be_stopped_by_hand(stage: Stage) -> None:
    hooked(stage, "./bin/wait")
    with stage.begin("rollout", "--release", stage.release("v2", files={"bin/wait": WAIT})) as begun:
        begun.until("hook", state="started")
        stage.machine.wait_unit(UNIT, "activating")
        stage.machine.run(["systemctl", "stop", UNIT])
        ended = begun.end()
    assert ended.status == 3
    assert "before hook ./bin/wait was killed by SIGTERM" in ended.stderr
    untouched(stage)


def tracebacks(stage: Stage) -> int:
    """Return how many the daemon has logged."""
    return sum("Traceback" in line for line in stage.journal.of_deployd())


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["kill", "restart"])
def test_a_daemon_that_ends_during_a_before_hook_changes_nothing(stage: Stage, how: str) -> None:
    """The hook is not interrupted: a migration must not stop half-way."""
    hooked(stage, "./bin/wait")
    before, errors = stage.invocations(), tracebacks(stage)
    release = stage.release("v2", files={"bin/wait": WAIT})
    with stage.begin("rollout", "--release", release) as begun:
        begun.until("hook", state="started")
        stage.machine.wait_unit(UNIT, "activating")
        if how == "kill":
            kill_daemon(stage)
        else:
            stage.machine.run(["systemctl", "restart", "deployd.service"])
        ended = begun.end()
    assert ended.status == 5, ended
    assert stage.invocations() == before
    assert [row["generation"] for row in stage.history()] == [1]
    assert tracebacks(stage) == errors
    refused = stage.rollout(release)
    assert refused.status == 3
    assert f"a hook of an earlier rollout of demo is still running ({UNIT})" in refused.stderr
    stage.machine.write(GO, "")
    stage.machine.wait_unit(UNIT, "inactive")
    again = stage.rollout(release)
    assert (again.result, again.generation) == ("succeeded", 2)


@pytest.mark.thorough
def test_an_after_hook_runs_when_the_rollout_has_succeeded(stage: Stage) -> None:
    stage.machine.run(["install", "-d", "-m", "777", SAID])
    hooked(stage, after=("./bin/record", "./bin/fail"))
    ended = stage.rollout(stage.release("v2", files={"bin/record": RECORD, "bin/fail": FAIL}))
    assert (ended.status, ended.result) == (0, "succeeded"), "a failed after hook undoes nothing"
    runs, environment = said(stage, "after")
    assert runs == [f"root {RELEASES}/v2  key="]
    assert (environment["DEPLOYD_OLD_GENERATION"], environment["DEPLOYD_CAUSE"]) == ("1", "rollout")
    reported = [(event["command"], event["state"]) for event in ended.events if event["event"] == "hook"]
    assert reported == [
        ("./bin/record", "started"),
        ("./bin/record", "succeeded"),
        ("./bin/fail", "started"),
        ("./bin/fail", "failed"),
    ]
    assert "exited with status 3" in ended.reason
    assert stage.status()["generation"] == 2


@pytest.mark.thorough
def test_a_daemon_killed_during_an_after_hook_runs_it_again(stage: Stage) -> None:
    """The second run waits for the end of the first; the rollout ends when it has succeeded."""
    hooked(stage, after=("./bin/wait",))
    script = WAIT.replace("echo waiting", f"echo $$ >> {RELEASES}/pids")
    with stage.begin("rollout", "--release", stage.release("v2", files={"bin/wait": script})) as begun:
        begun.until("hook", hook="after", state="started")
        stage.machine.wait_unit(UNIT, "activating")
        kill_daemon(stage)
        begun.until("daemon-back")
        assert stage.status()["rollout"]["phase"] == "rolling"
        assert len(stage.machine.read(f"{RELEASES}/pids").split()) == 1
        stage.machine.write(GO, "")
        ended = begun.end()
    assert (ended.status, ended.result, ended.reason) == (0, "succeeded", "")
    assert len(stage.machine.read(f"{RELEASES}/pids").split()) == 2


@pytest.mark.thorough
def test_the_after_hooks_of_a_superseded_rollout_are_stopped(stage: Stage) -> None:
    hooked(stage, after=("./bin/wait",))
    stage.release("v3", files={"bin/wait": "#!/bin/sh\n"})
    with stage.begin("rollout", "--release", stage.release("v2", files={"bin/wait": WAIT})) as begun:
        begun.until("hook", hook="after", state="started")
        stage.machine.wait_unit(UNIT, "activating")
        newer = stage.change("rollout", "--release", f"{RELEASES}/v3", "--supersede")
        assert begun.end().result == "superseded"
    assert (newer.status, newer.result) == (0, "succeeded"), newer
