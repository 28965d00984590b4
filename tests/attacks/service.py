"""Attacks on org.deployd1 by the user nobody, which may read neither the journal nor closed directories."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from tests.attacks.clients import AGENT, LISTEN, PLANS, PROMPTS
from tests.host.begun import Ended
from tests.host.stage import APP, APP_FILE, DEADLINE, Stage

Attack = Callable[[Stage], str]

NOBODY = "nobody"
SECRET = "postgres://root:hunter2@db"
"""Part of an app's traceback, which journalctl(1) does not show to unprivileged users."""
OBJECT = f"/org/deployd1/app/{APP}"


def polkit_rule(stage: Stage, condition: str) -> None:
    """Install a rule that lets the user nobody change apps where the JavaScript `condition` is true."""
    rule = f"""polkit.addRule(function(action, subject) {{
        if (action.id.indexOf("org.deployd1.") == 0 && action.id != "org.deployd1.read-logs" &&
            subject.user == "nobody" && ({condition})) return polkit.Result.YES;
    }});\n"""
    allow(stage, rule)


def allow(stage: Stage, rules: str) -> None:
    """Install the text of a file of polkit's rules."""
    stage.machine.write("/etc/polkit-1/rules.d/10-test.rules", rules)
    read_rules(stage)


def read_rules(stage: Stage) -> None:
    """Have polkit read its rules, without waiting until it notices new ones."""
    stage.machine.run(["chmod", "755", "/etc/polkit-1/rules.d"])
    stage.machine.run(["systemctl", "restart", "polkit"])


def call(stage: Stage, member: str, *arguments: str, path: str = OBJECT, user: str = NOBODY) -> str:
    """Return the output of busctl for a call, the reply or the error."""
    interface = "org.deployd1.Manager" if path == "/org/deployd1" else "org.deployd1.App"
    argv = ["busctl", "--system", "--allow-interactive-authorization=no", "call", "org.deployd1", path, interface]
    done = stage.machine.run([*argv, member, *arguments], user=user, check=False, timeout=DEADLINE)
    return done.stdout + done.stderr


def plan_of(stage: Stage, release: str) -> str:
    """Return the reply to a plan of `release` by nobody, without the path itself."""
    return call(stage, "Plan", "a{sv}", "1", "release", "s", release).replace(release, "PATH")


def fail_with_secret(stage: Stage) -> Ended:
    """Roll out a release whose instances die with a message that contains a password."""
    stage.deploy("v1")
    bad = stage.release("bad")
    stage.machine.write(f"{bad}/app.py", f"raise SystemExit({SECRET!r})\n")
    return stage.rollout(bad)


def read_the_last_words_of_an_app(stage: Stage) -> str:
    """The user nobody reads the output of failed instances and hooks in replies, properties, errors and signals."""
    machine = stage.machine
    listener = machine.popen([machine.python, "-c", LISTEN], user=NOBODY, stdout=subprocess.PIPE)
    assert listener.stdout is not None
    try:
        assert listener.stdout.readline() == "listening\n"
        assert SECRET in fail_with_secret(stage).stderr
        # The output of crashed instances is shown by status, messages with the priority err by compare.
        release = stage.release("late")
        text = f"import sys; sys.stderr.write('<3>{SECRET}\\n')\n"
        machine.write(f"{release}/app.py", text + machine.read(f"{release}/app.py"))
        assert stage.rollout(release).result == "succeeded"
        for number in range(1, 3):
            stage.kill(number)
        hook = f"echo {SECRET}; exit 3"
        stage.configure(rollout={"hooks": {"before": [["/bin/sh", "-c", hook]]}})
        stage.deployd("rollout", APP, "--release", stage.release("v3"))
        shown = {member: call(stage, member) for member in ("Describe", "History", "Compare")}
        shown["GetAll"] = machine.run(
            ["busctl", "call", "org.deployd1", OBJECT, "org.freedesktop.DBus.Properties", "GetAll", "s", ""],
            user=NOBODY,
            check=False,
        ).stdout
        shown["Manager.Describe"] = call(stage, "Describe", path="/org/deployd1")
        polkit_rule(stage, "true")
        shown["Rollout"] = call(stage, "Rollout", "a{sv}", "0")
    finally:
        listener.kill()
        signals, _ = listener.communicate()
    seen = [json.loads(line) for line in signals.splitlines()]
    numbers = [json.loads(body[0]).get("number") for member, body in seen if member == "RolloutEvent"]
    assert any(numbers), "events refer to lines"
    shown |= {f"Event {number}": call(stage, "Event", "t", str(number)) for number in numbers if number}
    shown["signals"] = signals
    # The command line of the hook is public, unlike its output.
    leaks = [what for what, text in shown.items() if SECRET in text.replace(hook, "")]
    return f"the secret is in {', '.join(leaks)}" if leaks else ""


def look_into_closed_directories(stage: Stage) -> str:
    """The user nobody learns by its queries which paths exist in closed directories or behind symlinks."""
    stage.deploy("v1")
    machine = stage.machine
    machine.run(["install", "-d", "-m", "700", "/var/closed", "/var/closed/dir", "/srv/closed"])
    machine.run(["cp", "-a", "/srv/demo/v1", "/srv/closed/v1"])
    machine.write("/var/closed/file", SECRET)
    machine.run(["install", "-d", "-o", NOBODY, "-m", "755", "/var/tmp/nobody"])
    for number, target in enumerate(("/var/closed/dir", "/var/closed/none", "/srv/closed/v1", "/proc/1/cwd")):
        machine.run(["ln", "-sfn", target, f"/var/tmp/nobody/{number}"], user=NOBODY)
    paths = [
        *("/var/closed/dir", "/var/closed/file", "/var/closed/none", "/var/closed/none/x", "/srv/closed/v1"),
        *("/srv/closed/v2", "/proc/1/cwd", "/proc/1/cwd/etc", *(f"/var/tmp/nobody/{number}" for number in range(4))),
    ]
    answers = {path: plan_of(stage, path) for path in paths}
    if len(set(answers.values())) > 1:
        return f"the replies differ: {answers}"
    said = set()
    for release in ("/srv/closed/v1", "/srv/closed/none", "/var/closed/file"):
        stage.configure(release=release)
        shown = call(stage, "Check", "s", APP, path="/org/deployd1") + call(stage, "Releases")
        shown += call(stage, "Units") + call(stage, "Changes")
        said.add((shown + call(stage, "Plan", "a{sv}", "0")).replace(release, "PATH"))
    if len(said) > 1:
        return f"the replies about the release in the app file differ: {said}"
    return "" if "is not a directory that user" in answers[paths[0]] else answers[paths[0]]


def learn_the_names_beside_a_release(stage: Stage) -> str:
    """The user nobody learns the names of directories and changed files that it may not list."""
    stage.deploy("v1")
    machine = stage.machine
    machine.run(["install", "-d", "/srv/demo/acquisition-of-rival"])
    machine.write("/srv/demo/v1/layoffs.txt", "soon")
    machine.run(["chmod", "711", "/srv/demo"])
    said = "".join(call(stage, member) for member in ("Releases", "Describe", "History", "Compare"))
    said += plan_of(stage, "/srv/demo/v1") + call(stage, "Check", "s", "", path="/org/deployd1")
    words = [word for word in ("acquisition", "layoffs") if word in said]
    machine.run(["chmod", "755", "/srv/demo"])
    said = call(stage, "Releases")
    words += ["layoffs"] if "layoffs" in said else []
    return f"it learned of {', '.join(words)}" if words else ""


def read_an_app_file_of_mode_0600(stage: Stage) -> str:
    """The user nobody reads an app file of mode 0600 through deployd, whether the file is valid or not."""
    stage.deploy("v1", environment={"DATABASE": SECRET})
    machine = stage.machine
    polkit_rule(stage, 'action.lookup("verb") != "remove"')
    text = machine.read(APP_FILE)
    assert "[service]" not in text

    def asked(text: str) -> str:
        machine.write(APP_FILE, text)
        machine.run(["chmod", "600", APP_FILE])
        said = [call(stage, member) for member in ("Units", "Changes", "Releases", "Describe", "History")]
        said.append(call(stage, "Plan", "a{sv}", "0") + call(stage, "Check", "s", "", path="/org/deployd1"))
        return "".join(said)

    # None of this is in a unit file yet, which any user may read.
    valid = asked(f'{text}\n[service]\nSyslogIdentifier = "{SECRET.rpartition("/")[2]}"\n')
    invalid = asked(text.replace("listen = [", f'listen = ["{SECRET}", '))
    invalid += "".join(call(stage, member, "a{sv}", "0") for member in ("Rollout", "Apply"))
    if "hunter2" in valid or "hunter2" in invalid:
        return "the contents of the file are shown"
    return "" if "is not valid" in invalid else f"the file is not reported as invalid: {invalid}"


def roll_out_code_of_ones_own(stage: Stage) -> str:
    """nobody, authorized by polkit to roll out an app, rolls out a directory of its own."""
    stage.deploy("v1")
    machine = stage.machine
    polkit_rule(stage, "true")
    machine.run(["install", "-d", "-o", NOBODY, "-m", "755", "/var/tmp/nobody"])
    machine.run(["cp", "-r", "/srv/demo/v1", "/var/tmp/nobody/evil"], user=NOBODY)
    machine.run(["ln", "-sfn", "/var/tmp/nobody/evil", "/srv/demo/link"])
    for path in ("/var/tmp/nobody/evil", "/srv/demo/link", "/srv/demo/../../var/tmp/nobody/evil", "/srv/demo"):
        said = call(stage, "Rollout", "a{sv}", "1", "release", "s", path)
        if len(stage.history()) > 1:
            return f"{path} was rolled out: {said}"
    return ""


def stop_the_daemon_with_unanswered_questions(stage: Stage) -> str:
    """The user nobody causes 64 password prompts and leaves them unanswered, while others use the daemon."""
    stage.deploy("v1")
    machine = stage.machine
    caller = machine.popen([machine.python, "-c", PROMPTS], user=NOBODY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert caller.stdin is not None
    assert caller.stdout is not None
    pid = caller.stdout.readline().strip()
    agent = machine.popen([machine.python, "-c", AGENT, pid], user=NOBODY, stdout=subprocess.PIPE)
    assert agent.stdout is not None
    try:
        assert agent.stdout.readline() == "registered\n"
        caller.stdin.write("go\n")
        caller.stdin.flush()
        assert caller.stdout.readline() == "asked\n"
        assert agent.stdout.readline() == "BeginAuthentication\n"
        done = stage.deployd("rollout", APP, "--release", stage.release("v2"), timeout=DEADLINE)
        if done.returncode:
            return f"root's rollout failed: {done.stderr}"
        polkit_rule(stage, 'action.lookup("verb") == "rollout"')
        done = stage.deployd("status", APP, user="daemon", timeout=DEADLINE)
        return "" if done.returncode == 0 else f"another user got an error: {done.stderr}"
    except subprocess.TimeoutExpired:
        return "root's rollout waited for polkit"
    finally:
        for process in (caller, agent):
            process.kill()
            process.communicate()


def have_hundreds_of_instances_simulated(stage: Stage) -> str:
    """The user nobody makes 300 concurrent requests for the plan of 200 instances, while root plans and rolls out."""
    stage.deploy("v1")
    stage.configure(release="/srv/demo/v1", instances=200)
    machine = stage.machine
    flood = machine.popen([machine.python, "-c", PLANS], user=NOBODY, stdout=subprocess.PIPE)
    assert flood.stdout is not None
    try:
        assert flood.stdout.readline() == "asked\n"
        if stage.deployd("plan", APP, timeout=DEADLINE).returncode:
            return "root's plan failed"
        stage.configure(release="/srv/demo/v1", instances=4)
        if stage.change("restart").result != "succeeded":
            return "root's rollout was stopped"
        answered = int(flood.stdout.readline())
        return "" if answered <= 10 else f"{answered} plans were simulated"
    finally:
        flood.kill()
        flood.communicate()


ODD: tuple[tuple[str, ...], ...] = (
    (OBJECT, "org.deployd1.App", "LogMatches", "t", str(2**31)),
    (OBJECT, "org.deployd1.App", "LogMatches", "t", str(2**64 - 1)),
    (OBJECT, "org.deployd1.App", "GenerationsOf", "as", "2", "' OR 1", "f" * 32),
    (OBJECT, "org.deployd1.App", "Event", "t", str(2**64 - 1)),
    (OBJECT, "org.deployd1.App", "Plan", "a{sv}", "1", "canary_share", "d", "nan"),
    (OBJECT, "org.deployd1.App", "Plan", "a{sv}", "1", "canary", "u", str(2**32 - 1)),
    (OBJECT, "org.deployd1.App", "Plan", "a{sv}", "1", "release", "as", "1", "x"),
    (OBJECT, "org.deployd1.App", "SetWeight", "tda{sv}", str(2**64 - 1), "inf", "0"),
    (OBJECT, "org.freedesktop.DBus.Properties", "Get", "sas", "org.deployd1.App", "1", "Ready"),
    (OBJECT, "org.freedesktop.DBus.Properties", "GetAll", "as", "1", "org.deployd1.App"),
    (OBJECT, "org.freedesktop.DBus.Properties", "Get", "vv", "s", "x", "s", "y"),
    (OBJECT, "org.freedesktop.DBus.Introspectable", "Introspect", "s", "x"),
    (OBJECT, "org.freedesktop.DBus.Peer", "Ping", "s", "x"),
    ("/org/deployd1/app/_00", "org.deployd1.App", "Describe"),
    ("/org/deployd1/app/" + "x" * 60_000, "org.deployd1.App", "Describe"),
    ("/org/deployd1", "org.deployd1.Manager", "Check", "s", "x" * 100_000),
    ("/org/deployd1", "org.deployd1.Manager", "Check", "s", "\x1b[31m"),
)


def have_tracebacks_written(stage: Stage) -> str:
    """The user nobody calls methods with odd values and types, so that the daemon writes tracebacks or dies."""
    stage.deploy("v1")
    machine = stage.machine
    pid = stage.show("deployd.service", "MainPID")
    for argv in ODD:
        machine.run(["busctl", "--system", "call", "org.deployd1", *argv], user=NOBODY, check=False, timeout=DEADLINE)
    said = "\n".join(stage.journal.of_deployd())
    if stage.show("deployd.service", "MainPID") != pid:
        return "the daemon died"
    return "a traceback was written" if "Traceback" in said or "internal error" in said else ""


ATTACKS: tuple[Attack, ...] = (
    read_the_last_words_of_an_app,
    look_into_closed_directories,
    learn_the_names_beside_a_release,
    read_an_app_file_of_mode_0600,
    roll_out_code_of_ones_own,
    stop_the_daemon_with_unanswered_questions,
    have_hundreds_of_instances_simulated,
    have_tracebacks_written,
)
