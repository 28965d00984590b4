"""Attacks by the processes of an app: attempts to get more privileges than configured."""

from __future__ import annotations

from collections.abc import Callable

from tests.host.stage import APP, Stage

SAID = "/var/tmp/said"

WHO = f"""\
#!/bin/sh
{{ id -u; id -G; }} > {SAID}/$1
cat /etc/shadow > {SAID}/$1.shadow 2>/dev/null
exit 0
"""
DROP_IN = "[Service]\nUser=www-data\nGroup=www-data\n"

WANT = """\
#!/usr/bin/python3
import os, subprocess, sys

def attempt(name, call):
    try:
        call()
    except Exception:
        return
    print(name, file=open(sys.argv[1], "a"), flush=True)

def become():
    assert subprocess.run(["/usr/local/bin/id4", "-u"], capture_output=True, text=True).stdout.strip() == "0"

def mark(path):
    open(path, "w").close()
    os.chmod(path, 0o4755)

def write(path, text):
    with open(path, "w") as file:
        file.write(text)

def bounded():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("CapBnd"))
    assert int(line.split()[1], 16)

attempt("became root by a setuid program", become)
attempt("made a setuid program", lambda: mark("/var/tmp/said/mine"))
attempt("became another user", lambda: os.setuid(0))
attempt("wrote to /proc/sys", lambda: write("/proc/sys/kernel/domainname", "mine"))
attempt("made a control group", lambda: os.mkdir("/sys/fs/cgroup/mine"))
attempt("saw processes of other users", lambda: os.stat("/proc/1/status"))
attempt("could gain capabilities", bounded)
attempt("made a device", lambda: os.mknod("/var/tmp/said/device", 0o60600, os.makedev(7, 0)))
attempt("opened the kernel's log", lambda: os.close(os.open("/dev/kmsg", os.O_RDONLY)))
"""


def prepare(stage: Stage) -> None:
    stage.machine.run(["rm", "-rf", SAID])
    stage.machine.run(["install", "-d", "-m", "1777", SAID])


def roots(stage: Stage, *kinds: str) -> str:
    """Return which of the commands had root's privileges; "" if all ran as www-data with its group alone."""
    for kind in kinds:
        path = stage.machine.path(f"{SAID}/{kind}")
        if not path.exists():
            return f"{kind} did not run at all"
        uid, groups = path.read_text().splitlines()
        if (uid, groups) != ("33", "33"):
            return f"{kind} ran as user {uid} with groups {groups}"
        if stage.machine.read(f"{SAID}/{kind}.shadow"):
            return f"{kind} read /etc/shadow"
    return ""


def a_hook_under_a_drop_in(stage: Stage) -> str:
    """An app whose instances run as www-data by a drop-in tries to be root in its hooks, also at its first rollout."""
    prepare(stage)
    stage.machine.write(f"/etc/systemd/system/{APP}@.service.d/user.conf", DROP_IN)
    files = {"bin/who": WHO}
    hooks = {"before": [["./bin/who", "before"]], "after": [["./bin/who", "after"]]}
    stage.configure(release=stage.release("v1", files=files), instances=1, rollout={"hooks": hooks})
    stage.change("apply")
    if achieved := roots(stage, "before", "after"):
        return achieved
    prepare(stage)
    stage.rollout(stage.release("v2", files=files))
    return roots(stage, "before", "after")


def a_probe_or_analysis_under_a_drop_in(stage: Stage) -> str:
    """An app whose instances run as www-data by a drop-in tries to be root in its probe and its analysis."""
    prepare(stage)
    stage.machine.write(f"/run/systemd/system/{APP}@.service.d/user.conf", DROP_IN)
    files = {"bin/who": WHO}
    stage.configure(
        release=stage.release("v1", files=files),
        instances=1,
        gate={"probe": {"command": ["./bin/who", "probe"], "expect": 0}},
        rollout={"analysis": {"command": ["./bin/who", "analysis"], "interval": "0.2s"}},
    )
    stage.change("apply")
    stage.rollout(stage.release("v2", files=files))
    stage.machine.run(["rm", "-r", f"/run/systemd/system/{APP}@.service.d"])
    return roots(stage, "probe", "analysis")


def a_hook_of_a_rollback(stage: Stage) -> str:
    """An app that was rolled out as root tries to be root in a hook of its rollback, after a drop-in was added."""
    prepare(stage)
    files = {"bin/who": WHO}
    hooks = {"before": [["./bin/who", "before"]]}
    stage.configure(release=stage.release("v1", files=files), instances=1, rollout={"hooks": hooks})
    stage.change("apply")
    stage.rollout(stage.release("v2", files=files))
    prepare(stage)
    stage.machine.write(f"/etc/systemd/system/{APP}@.service.d/user.conf", DROP_IN)
    stage.change("rollback")
    return roots(stage, "before")


def an_instance_that_wants_more(stage: Stage) -> str:
    """An instance, as the app's user, tries to become root by a setuid program and to write where only root may."""
    prepare(stage)
    stage.machine.run(["install", "-m", "4755", "/usr/bin/id", "/usr/local/bin/id4"])
    stage.configure(
        release=stage.release("v1", files={"bin/want": WANT}),
        exec=["/bin/sh", "-c", f"./bin/want {SAID}/instance; exec /usr/bin/python3 app.py"],
        instances=1,
        user="www-data",
    )
    ended = stage.change("apply")
    stage.machine.run(["rm", "/usr/local/bin/id4"])
    path = stage.machine.path(f"{SAID}/instance")
    return ", ".join(path.read_text().splitlines()) if path.exists() else "" if ended.status == 0 else "it did not run"


ATTACKS: tuple[Callable[[Stage], str], ...] = (
    a_hook_under_a_drop_in,
    a_probe_or_analysis_under_a_drop_in,
    a_hook_of_a_rollback,
    an_instance_that_wants_more,
)
