"""The process that is responsible for one host: it builds the root, boots systemd in it, and removes everything.

When the owner closes the pipe or dies, the supervisor kills the host, empties and removes its cgroup, and exits. With
it ends the private mount namespace that has all files of the host. If the supervisor itself is killed, the kernel kills
the host (by a chain of parent-death signals), and the next boot removes the cgroup. Runs as `unshare --mount python -m
tests.host.supervisor SPEC`, with one JSON object per line as input and output.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.host import cgroup
from tests.host.install import install
from tests.host.layer import prepare
from tests.host.mounts import Mounts
from tests.host.process import pidfd, wait_end
from tests.host.spec import Spec

REMOVAL = 30.0
NAMESPACES = ("--pid", "--fork", "--cgroup", "--uts", "--ipc", "--net", "--mount", "--propagation", "private")

Answer = dict[str, Any]


class BootError(Exception):
    """The host did not boot, or did not shut down."""


@dataclass(slots=True)
class Supervisor:
    """Handles the owner's requests: {"do": "boot" | "kill" | "wait", "timeout": S}.

    Each gets one reply: {"up": true, "leader": PID, "cgroup": PATH}, {"up": false} or {"error": TEXT}.
    """

    spec: Spec
    owner: int  # a pidfd
    mounts: Mounts
    group: cgroup.Cgroup | None = None
    launcher: subprocess.Popen[bytes] | None = None
    boots: int = 0
    home: cgroup.Cgroup = field(default_factory=cgroup.own)

    def build(self) -> None:
        """Prepare everything for the first boot."""
        root = self.mounts.build()
        prepare(root, self.spec.name)
        if self.spec.install:
            install(root, self.spec)

    def boot(self, timeout: float) -> Answer:
        """Start systemd and wait until it reports that it is ready."""
        deadline = time.monotonic() + timeout
        self.kill(REMOVAL)
        with self.mounts.fresh() as notify, self.mounts.log.open("wb") as log:
            self.boots += 1
            self.group = cgroup.Cgroup.create(f"{self.spec.name}.{self.boots}", os.getpid())
            command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", *NAMESPACES, "--kill-child=SIGKILL", "--"]
            command += [sys.executable, "-m", "tests.host.init", str(self.mounts.root)]
            self.launcher = subprocess.Popen(
                self.group.join(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            try:
                self._wait_ready(notify, self.launcher, deadline)
            except BaseException:
                self.kill(REMOVAL)
                raise
        leader = Path(f"/proc/{self.launcher.pid}/task/{self.launcher.pid}/children").read_text()
        self.home.move(self.launcher.pid)  # a process in the root of the host's cgroup would block controllers
        return {"up": True, "leader": int(leader), "cgroup": str(self.group.path)}

    def kill(self, timeout: float) -> Answer:
        """Kill all processes at once, like a power failure."""
        deadline = time.monotonic() + timeout
        if self.launcher is not None:
            self.launcher.kill()
            wait_end(self.launcher, timeout)
            self.launcher = None
        if self.group is not None:
            self.group.remove(deadline - time.monotonic())
            self.group = None
        return {"up": False}

    def wait(self, timeout: float) -> Answer:
        """Wait until the host has shut down."""
        deadline = time.monotonic() + timeout
        if self.launcher is not None:
            with pidfd(self.launcher.pid) as gone:
                if gone not in self._ready([gone], deadline):
                    raise BootError(f"the host did not shut down within {timeout:g} s")
        return self.kill(REMOVAL)

    def answer(self, request: dict[str, Any]) -> Answer:
        """Carry out one request."""
        try:
            return {"boot": self.boot, "kill": self.kill, "wait": self.wait}[request["do"]](request["timeout"])
        except (BootError, cgroup.CgroupError, subprocess.SubprocessError, OSError) as error:
            return {"error": str(error)}

    def serve(self) -> None:
        """Handle requests until the pipe or the owner ends."""
        pending = b""
        while data := self._request():
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                reply(self.answer(json.loads(line)))

    def _request(self) -> bytes:
        self._ready([0], None)
        return os.read(0, 65536)

    def _wait_ready(self, notify: socket.socket, launcher: subprocess.Popen[bytes], deadline: float) -> None:
        with pidfd(launcher.pid) as gone:
            while True:
                ready = self._ready([notify.fileno(), gone], deadline)
                if notify.fileno() in ready and "READY=1" in notify.recv(65536).decode().splitlines():
                    return
                if gone in ready:
                    raise BootError(f"PID 1 of the host ended with status {launcher.wait()}: {self._output()}")
                if not ready:
                    raise BootError(f"systemd was not ready in time: {self._output()}")

    def _ready(self, fds: list[int], deadline: float | None) -> set[int]:
        """Return the readable descriptors, none after the deadline. Ends everything if the owner has died."""
        poll = select.poll()
        for fd in (*fds, self.owner):
            poll.register(fd, select.POLLIN)
        left = None if deadline is None else max(0, deadline - time.monotonic()) * 1000
        ready = {fd for fd, _ in poll.poll(left)}
        if self.owner in ready:
            sys.exit(0)
        return ready

    def _output(self) -> str:
        return self.mounts.log.read_text(errors="replace").strip()[-2000:] or "no output"


def reply(answer: Answer) -> None:
    """Send one reply to the owner. If it has died meanwhile, the next poll detects that."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Serve the owner until it ends, then remove everything."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    spec = Spec.from_json(sys.argv[1])
    try:
        owner = os.pidfd_open(spec.owner)
        cgroup.sweep(REMOVAL)
        supervisor = Supervisor(spec, owner, Mounts.choose(spec.lower, spec.checkout, spec.python))
        supervisor.build()
    except (OSError, subprocess.SubprocessError, cgroup.CgroupError) as error:
        reply({"error": f"cannot build the host's root: {error}"})
        return
    reply({"up": False})
    try:
        supervisor.serve()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        supervisor.kill(REMOVAL)


if __name__ == "__main__":
    main()
