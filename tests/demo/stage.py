"""The disposable machine with the releases of the application, and the means to operate and observe it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tests.demo.bus_monitor import CallMonitor
from tests.demo.scenario import APP, PORT, RELEASES, directory
from tests.demo.settings import Settings
from tests.demo.timeline import Timeline
from tests.host.begun import Begun
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.load import netstat
from tests.load.client import Load
from tests.sample_apps.release import app_file, make_release

APP_FILE = f"/etc/deployd/apps/{APP}.toml"
HANDLER_MS = 5.0  # so that there are always requests in progress when an instance stops
LONGEST = 120.0  # seconds for a rollout, in addition to the boots of its instances


class Stage:
    """One machine. The caller removes it."""

    def __init__(self, machine: Machine, settings: Settings) -> None:
        self.machine = machine
        self.settings = settings

    def prepare(
        self, releases: Mapping[str, str] = RELEASES, rollout: Mapping[str, object] | None = None, **keys: object
    ) -> str:
        """Write the releases (version: mode) and the app file, with additional keys of [rollout] and others.

        Return the text of the app file.
        """
        for version, mode in releases.items():
            target = self.machine.path("/") / directory(version).lstrip("/")
            make_release(target, version, mode, self.settings.boot, HANDLER_MS)
        text = app_file(
            APP,
            directory("v1"),
            PORT,
            self.settings.instances,
            gate={"timeout": f"{self.settings.gate:g}s"},
            rollout={
                **({"max_surge": 0, "max_unavailable": 1} if self.settings.in_place else {"max_surge": 1}),
                **(rollout or {}),
            },
            **keys,
        )
        self.machine.write(APP_FILE, text)
        return text

    @property
    def systemd(self) -> str:
        """The version of systemd."""
        return self.machine.run(["systemctl", "--version"]).stdout.split()[1]

    def start_load(self) -> Load:
        """Start the load generator on the machine, and wait until it has warmed up."""
        return Load.start(
            self.machine.popen,
            PORT,
            self.settings.rate,
            self.settings.keepalive,
            python="/usr/bin/python3",  # any Python works, and this one has no packages of ours
            env={"PYTHONPATH": str(IN_HOST)},
            start_new_session=True,  # ^C in a terminal must reach this process only, which then ends it
        )

    def perform(self, argv: Sequence[str], stream: TextIO) -> int:
        """Run a command with its output on `stream`, which may be a terminal; return its exit status."""
        colour = {name: os.environ[name] for name in ("NO_COLOR",) if name in os.environ}
        process = self.machine.popen(argv, env=colour, stdout=stream, stderr=stream)
        try:
            return process.wait(LONGEST + 2 * self.settings.instances * self.settings.boot)
        finally:
            process.kill()
            process.wait()

    def begin(self, argv: Sequence[str]) -> Begun:
        """Start a command that prints its events with --json."""
        pipe = subprocess.PIPE
        return Begun(self.machine.popen([*argv, "--json"], stdout=pipe, stderr=pipe))

    def ask(self, *argv: str) -> dict[str, Any]:
        """Return what a command prints with --json."""
        answer: dict[str, Any] = json.loads(self.machine.run([*argv, "--json"]).stdout)
        return answer

    def invocations(self) -> dict[int, str]:
        """Map the instances that are active in systemd to their invocation IDs, which differ for each process."""
        listed = self.machine.run(
            ["systemctl", "show", f"{APP}@*.service", "--property=Id,ActiveState,InvocationID"]
        ).stdout
        return active(listed)

    def monitor(self, method: str) -> CallMonitor:
        """Return a monitor for the time at which a request reaches deployd."""
        return CallMonitor(self.machine, method)

    def timeline(self) -> Timeline:
        """Return the timeline of the instances from systemd's journal."""
        self.machine.run(["journalctl", "--sync"])
        entries = self.machine.run(["journalctl", "--output=json", "--no-pager", "--boot", "_PID=1"]).stdout
        return Timeline.of(entries.splitlines(), APP)

    def listen(self) -> netstat.Listen:
        """Read the counters of the machine's own network namespace."""
        return netstat.read(Path(f"/proc/{self.machine.leader_pid}/net/netstat"))

    def journal(self) -> str:
        """Return the last lines of the journal, for errors."""
        said = self.machine.run(["journalctl", "--no-pager", "--output=short-precise", "--lines=60"], check=False)
        return said.stdout

    @staticmethod
    def now() -> float:
        """Return the time on the clock of the load generator and the journal."""
        return time.monotonic()


def active(shown: str) -> dict[int, str]:
    """Parse the output of `systemctl show` with Id, ActiveState and InvocationID, a paragraph for each unit."""
    found = {}
    for paragraph in shown.strip().split("\n\n"):
        unit: Mapping[str, str] = dict(line.partition("=")[::2] for line in paragraph.splitlines())
        if unit.get("ActiveState") == "active":
            found[int(unit["Id"].removeprefix(f"{APP}@").removesuffix(".service"))] = unit["InvocationID"]
    return dict(sorted(found.items()))
