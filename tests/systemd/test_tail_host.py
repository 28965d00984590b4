"""The last lines of a process, read from a real journal in the daemon's sandbox."""

from __future__ import annotations

import json
import time

from tests.host.machine import Machine

UNIT = "demo:words.service"
DAEMON = "/usr/lib/systemd/system/deployd.service"
SCRIPT = """
import asyncio, json, sys
from deployd.systemd.tail import Tail
invocation, *late = sys.argv[1:]
options = {"unit": late[0], "since": float(late[1])} if late else {}
print(json.dumps(asyncio.run(Tail().last(invocation, **options))))
"""
# Settings of the daemon that do not belong to its sandbox.
NOT_SANDBOX = (
    "Type=",
    "BusName=",
    "Exec",
    "Restart=",
    "RestartSec=",
    "WatchdogSec=",
    "StateDirectory",
    "Configuration",
    "FileDescriptorStoreMax=",
)


def sandbox(machine: Machine) -> list[str]:
    """Return the daemon's sandbox as options of systemd-run."""
    service = machine.read(DAEMON).partition("[Service]")[2].partition("\n[")[0]
    lines = [line for line in service.splitlines() if line and not line.startswith(("#", *NOT_SANDBOX))]
    assert "NoNewPrivileges=yes" in lines
    return [f"--property={line}" for line in lines]


def say(machine: Machine, script: str) -> str:
    """Run a shell script as a service and return its invocation ID."""
    command = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={UNIT}", "--property=LogExtraFields=A=1"]
    machine.write("/run/say", f"echo $INVOCATION_ID > /run/said\n{script}\n")
    machine.run([*command, "sh", "/run/say"], check=False)
    return machine.read("/run/said").strip()


def last(machine: Machine, invocation: str, since: float | None = None) -> list[str]:
    """Return what a daemon reads; with `since`, also lines without an invocation ID."""
    late = [] if since is None else [UNIT, str(since)]
    command = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *sandbox(machine)]
    done = machine.run([*command, machine.python, "-c", SCRIPT, invocation, *late])
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_lines_before_the_end_are_read(machine: Machine) -> None:
    began = time.monotonic()
    first = say(machine, "echo of another start")
    ours = say(machine, r"seq 20; printf '\033[31mred\n\tindented\n\377\n' >&2; printf 'no newline'; kill -KILL $$")
    assert last(machine, ours, began) == [*map(str, range(15, 21)), "red", "    indented", "\ufffd", "no newline"]
    assert "red" not in last(machine, first)
    assert last(machine, "0" * 32) == []


def test_why_a_program_was_not_executed(machine: Machine) -> None:
    began = time.monotonic()
    command = ["systemd-run", "--quiet", f"--unit={UNIT}", "--property=Type=exec", "/etc/hostname"]
    assert machine.run(command, check=False).returncode
    show = machine.run(["systemctl", "show", "--property=InvocationID", "--value", UNIT])
    words = last(machine, show.stdout.strip(), began)
    assert words, "said between fork and exec"
    assert any("/etc/hostname: Permission denied" in line for line in words), words


def test_a_late_journald_is_waited_for(machine: Machine) -> None:
    """It reads the lines when the process has ended and does not know the invocation any more."""
    began = time.monotonic()
    journald = machine.run(["systemctl", "show", "--property=MainPID", "--value", "systemd-journald"]).stdout.strip()
    machine.run(["kill", "-STOP", journald])
    try:
        ours = say(machine, "echo last words; exit 3")
    finally:
        machine.run(["kill", "-CONT", journald])
    assert last(machine, ours, began) == ["last words"]


def test_a_journald_that_does_not_answer_is_not_waited_for(machine: Machine) -> None:
    began = time.monotonic()
    ours = say(machine, "echo words")
    machine.run(["journalctl", "--sync"])
    journald = machine.run(["systemctl", "show", "--property=MainPID", "--value", "systemd-journald"]).stdout.strip()
    machine.run(["kill", "-STOP", journald])
    try:
        assert last(machine, ours, began) == ["words"]
    finally:
        machine.run(["kill", "-CONT", journald])
