"""A server as a plain systemd service that releases in its own way."""

from __future__ import annotations

import contextlib
import os
import select
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.host.stage import RELEASES, Stage
from tests.servers import packages
from tests.servers.proof import Proof, inside
from tests.servers.reloads.way import CURRENT, NPM, PYTHON, TOOLS, UNIT, Way
from tests.servers.server import Behaviour

PATIENCE = 180.0
"""Seconds for a command."""
UNIT_FILE = """\
[Unit]
Description={title}

[Service]
Environment=BOOT={boot:g} DEPLOYD_GENERATION=0 DEPLOYD_INSTANCE=0 PYTHONPATH={python}
{service}
"""


@dataclass(slots=True)
class Service:
    """The service of one way, on a clean host."""

    stage: Stage
    way: Way
    boot: float
    """Seconds that the app takes to load."""
    replaced: list[int] = field(default_factory=list)
    """PIDs of this machine, of the processes that the last release replaces."""

    def prepare(self) -> str:
        """Put the server on the host and start it; return its version."""
        machine, server, way = self.stage.machine, self.way.server, self.way
        machine.run(["systemctl", "stop", "deployd.service"])
        if server.debian:
            packages.unpack(machine, packages.debian_packages(machine.root, server.debian))
        if server.setup:
            machine.run(["sh", "-e", "-c", server.setup])
        for companion in server.companions:
            Proof(self.stage, server, "").accompany(companion)
        for name, text in way.tools.items():
            machine.write(f"{TOOLS}/{name}", text, 0o755 if text.startswith("#!") else 0o644)
        fetched = {}
        if server.python:
            fetched[PYTHON] = packages.python_packages(machine.root)
        if way.npm:
            fetched[NPM] = packages.npm_packages()
        for link, directory in fetched.items():
            machine.run(["mkdir", "-p", TOOLS])
            machine.run(["ln", "-s", inside(directory), link])
        self.switch("v1", Behaviour.GOOD)
        text = UNIT_FILE.format(title=way.title, boot=self.boot, python=PYTHON, service=way.service)
        machine.write(f"/etc/systemd/system/{UNIT}", text)
        machine.run(["systemctl", "daemon-reload"])
        machine.run(["systemctl", "start", UNIT], timeout=60)
        return machine.run(["sh", "-c", server.version], env={"PYTHONPATH": PYTHON}).stdout.split()[-1]

    def switch(self, version: str, behaviour: Behaviour) -> None:
        """Write a release and lead the symlink to it."""
        path = f"{RELEASES}/{version}"
        for name, text in self.way.server.release(behaviour).items():
            self.stage.machine.write(f"{path}/{name}", text.replace("@VERSION@", version))
        self.stage.machine.run(["sh", "-c", f"ln -sfn {path} {CURRENT}.new && mv -T {CURRENT}.new {CURRENT}"])

    def release(self, version: str, behaviour: Behaviour = Behaviour.GOOD) -> int:
        """Release a version; return the exit status of the command."""
        self.switch(version, behaviour)
        self.replaced = self.workers()
        return self.stage.machine.run(self.way.command, check=False, timeout=PATIENCE).returncode

    def back(self, version: str, *, restart: bool) -> int:
        """Return to a version in the same way, or by a restart if nothing runs or that is wanted; return the exit
        status."""
        machine = self.stage.machine
        self.switch(version, Behaviour.GOOD)
        self.replaced = self.workers()
        machine.run(["systemctl", "reset-failed", UNIT], check=False)
        restart = restart or machine.run(["systemctl", "is-active", UNIT], check=False).returncode != 0
        command = ("systemctl", "restart", UNIT) if restart else self.way.command
        return machine.run(command, check=False, timeout=PATIENCE).returncode

    def settle(self, patience: float) -> bool:
        """Wait until the processes that the last release replaces have ended; return whether they have."""
        deadline = time.monotonic() + patience
        every = True
        for pid in self.replaced:
            with contextlib.suppress(ProcessLookupError):
                process = os.pidfd_open(pid)
                try:
                    poll = select.poll()
                    poll.register(process, select.POLLIN)
                    ended = poll.poll(max(deadline - time.monotonic(), 0) * 1000)
                finally:
                    os.close(process)
                every = every and bool(ended)
        return every

    def workers(self) -> list[int]:
        """Return the processes of the service but the first, which is their parent, as PIDs of this machine."""
        members = self.stage.machine.cgroup.path / "system.slice" / UNIT / "cgroup.procs"
        pids = set(map(int, members.read_text().split())) if members.exists() else set()
        return sorted(pid for pid in pids if parent(pid) in pids)


def parent(pid: int) -> int:
    """Return the parent of a process, 0 if it has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
