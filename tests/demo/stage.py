"""The disposable machine with the application's releases on it, and what one can ask and tell it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tests.demo.settings import Settings
from tests.demo.story import APP, PORT, RELEASES, directory
from tests.demo.timeline import Timeline
from tests.demo.witness import Witness
from tests.host.begun import Begun
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.load import netstat
from tests.load.client import Load
from tests.sample_apps.release import app_file, make_release

APP_FILE = f"/etc/deployd/apps/{APP}.toml"
HANDLER_MS = 5.0  # so that there are always requests in progress when an instance goes
LONGEST = 120.0  # for a rollout, beyond what its instances take to boot


class Stage:
    """One machine. Its owner removes it."""

    def __init__(self, machine: Machine, settings: Settings) -> None:
        self.machine = machine
        self.settings = settings

    def prepare(
        self, releases: Mapping[str, str] = RELEASES, rollout: Mapping[str, object] | None = None, **keys: object
    ) -> str:
        """Put the releases (version: mode) and the app file there, with more of [rollout] and more keys; returns the
        latter's text."""
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
        """The version."""
        return self.machine.run(["systemctl", "--version"]).stdout.split()[1]

    def start_load(self) -> Load:
        """Load from inside the machine, warm."""
        return Load.start(
            self.machine.popen,
            PORT,
            self.settings.rate,
            self.settings.keepalive,
            python="/usr/bin/python3",  # any will do, and this one imports nothing of ours by itself
            env={"PYTHONPATH": str(IN_HOST)},
            start_new_session=True,  # a terminal's ^C is for us, who end it
        )

    def perform(self, argv: Sequence[str], stream: TextIO) -> int:
        """Run a command whose output is `stream`: our terminal, if that is one. Returns its exit status."""
        colour = {name: os.environ[name] for name in ("NO_COLOR",) if name in os.environ}
        process = self.machine.popen(argv, env=colour, stdout=stream, stderr=stream)
        try:
            return process.wait(LONGEST + 2 * self.settings.instances * self.settings.boot)
        finally:
            process.kill()
            process.wait()

    def begin(self, argv: Sequence[str]) -> Begun:
        """Run a command that tells its events with --json, and do not wait for its end."""
        pipe = subprocess.PIPE
        return Begun(self.machine.popen([*argv, "--json"], stdout=pipe, stderr=pipe))

    def ask(self, *argv: str) -> dict[str, Any]:
        """What a command tells with --json."""
        told: dict[str, Any] = json.loads(self.machine.run([*argv, "--json"]).stdout)
        return told

    def invocations(self) -> dict[int, str]:
        """The instances that systemd says are active, each with the ID that every new process gets."""
        listed = self.machine.run(
            ["systemctl", "show", f"{APP}@*.service", "--property=Id,ActiveState,InvocationID"]
        ).stdout
        return active(listed)

    def witness(self, method: str) -> Witness:
        """For the moment at which a command reaches deployd."""
        return Witness(self.machine, method)

    def timeline(self) -> Timeline:
        """What systemd has written about the instances."""
        self.machine.run(["journalctl", "--sync"])
        told = self.machine.run(["journalctl", "--output=json", "--no-pager", "--boot", "_PID=1"]).stdout
        return Timeline.of(told.splitlines(), APP)

    def listen(self) -> netstat.Listen:
        """The machine's own counters: its network is a namespace."""
        return netstat.read(Path(f"/proc/{self.machine.leader_pid}/net/netstat"))

    def journal(self) -> str:
        """For when something went wrong."""
        said = self.machine.run(["journalctl", "--no-pager", "--output=short-precise", "--lines=60"], check=False)
        return said.stdout

    @staticmethod
    def now() -> float:
        """On the clock of the load generator and of the journal."""
        return time.monotonic()


def active(shown: str) -> dict[int, str]:
    """From `systemctl show` with Id, ActiveState and InvocationID: a paragraph for each unit, in any order."""
    found = {}
    for paragraph in shown.strip().split("\n\n"):
        unit: Mapping[str, str] = dict(line.partition("=")[::2] for line in paragraph.splitlines())
        if unit.get("ActiveState") == "active":
            found[int(unit["Id"].removeprefix(f"{APP}@").removesuffix(".service"))] = unit["InvocationID"]
    return dict(sorted(found.items()))
