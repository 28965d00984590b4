"""A host without deployd, for tests of systemd itself: units of the test's own, and the signals that systemd sends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.host.machine import Machine

UNITS = "/run/systemd/system"
TIMEOUT = 20.0
SYSTEMD = "org.freedesktop.systemd1"


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal of systemd: of a property change the new values, of all others the arguments."""

    member: str
    path: str
    values: dict[str, Any]
    arguments: list[Any]


class Bare:
    """The host, with the commands that the tests need."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.version = int(self.run("systemctl", "--version").split()[1])

    def run(self, *argv: str) -> str:
        """Run a command that has to succeed; returns what it prints."""
        return self.machine.run(argv).stdout.strip()

    def fails(self, *argv: str) -> str:
        """Run a command that has to fail; returns what it says."""
        done = self.machine.run(argv, check=False)
        assert done.returncode, (argv, done)
        return done.stdout + done.stderr

    def units(self, **texts: str) -> None:
        """Write unit files, NAME_SUFFIX=TEXT, and have systemd read them."""
        for name, text in texts.items():
            stem, _, suffix = name.rpartition("_")
            self.machine.write(f"{UNITS}/{stem}.{suffix}", text)
        self.run("systemctl", "daemon-reload")

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", f"--property={name}", "--value", unit)

    def kill(self, unit: str) -> None:
        """Kill the main process."""
        self.run("kill", "-KILL", self.show(unit, "MainPID"))

    def wait(self, unit: str, name: str, value: str) -> None:
        """Wait until a property has a value."""
        self.machine.wait_for(lambda: self.show(unit, name) == value, TIMEOUT, f"{name}={value} of {unit}")

    def wait_again(self, unit: str, before: str) -> None:
        """Wait until a unit runs with another invocation ID than before."""
        self.machine.wait_for(
            lambda: self.show(unit, "InvocationID") != before and self.show(unit, "ActiveState") == "active",
            TIMEOUT,
            f"a new start of {unit}",
        )

    def transient(self, *properties: str, command: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a shell command as a transient service with these properties, to its end."""
        options = [f"--property={item}" for item in (*properties, *([f"User={user}"] if user else []))]
        argv = ["systemd-run", "--quiet", "--wait", "--pipe", *options, "sh", "-c", command]
        return self.machine.run(argv, check=False)

    def journal(self, unit: str) -> str:
        """Return what systemd and the unit's processes logged about it."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", f"--unit={unit}", "--output=cat", "--no-pager")

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Callable[[Callable[[Signal], bool]], list[Signal]]]:
        """Yield a function that returns the signals since the last call, up to the one that it is given a test for."""
        command = ["busctl", "--json=short", "monitor", SYSTEMD]
        monitor = self.machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert monitor.stdout is not None
        try:
            while not select.select([monitor.stdout], [], [], 0.1)[0]:  # until it sees a message, it may miss some
                self.run("busctl", "call", SYSTEMD, "/", "org.freedesktop.DBus.Peer", "Ping")
            lines = _lines(monitor.stdout.fileno())
            yield lambda wanted: _until(lines, wanted)
        finally:
            monitor.kill()
            monitor.communicate()


def _lines(fd: int) -> Iterator[str]:
    """Yield lines as they arrive; a deadline counts for each."""
    pending = ""
    while True:
        whole, newline, rest = pending.partition("\n")
        if newline:
            pending = rest
            yield whole
            continue
        assert select.select([fd], [], [], TIMEOUT)[0], "no more messages"
        pending += os.read(fd, 65536).decode()


def _until(lines: Iterator[str], wanted: Callable[[Signal], bool]) -> list[Signal]:
    found: list[Signal] = []
    deadline = time.monotonic() + TIMEOUT
    for line in lines:
        assert time.monotonic() < deadline, found
        if (signal := _signal(line)) is not None:
            found.append(signal)
            if wanted(signal):
                break
    return found


def _signal(line: str) -> Signal | None:
    message = json.loads(line) if line.startswith("{") else {}
    if message.get("type") != "signal":
        return None
    arguments = message["payload"]["data"]
    changed = arguments[1] if message["member"] == "PropertiesChanged" else {}
    values = {key: item["data"] for key, item in changed.items()}
    return Signal(message["member"], message["path"], values, arguments)
