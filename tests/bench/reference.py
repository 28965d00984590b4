"""A minimal supervisor with correct rolling restarts: owns the listening socket, replaces ready processes one by one.

`python3 reference.py PORT COUNT SURGE BACKLOG DIRECTORY PROGRAM…` starts COUNT processes of PROGRAM in DIRECTORY, a
symlink that may point elsewhere when a line on standard input requests to replace all of them. Each process gets the
socket like from systemd, sends READY=1 and ends on SIGTERM; with SURGE 1 the new one starts before the old one stops.
It prints `ready` when all run and `rolled` when all are new. It handles no failures, history or restarts: its time is
that of a rollout which does nothing but wait.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST_FD = 3


class Supervisor:
    """One application."""

    def __init__(self, port: int, surge: bool, backlog: int, directory: str, argv: list[str]) -> None:
        self.surge, self.directory, self.argv = surge, directory, argv
        listener = socket.create_server(("127.0.0.1", port), backlog=backlog)
        os.dup2(listener.detach(), FIRST_FD)  # usually it has that number already
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = str(Path(tempfile.mkdtemp()) / "notify")
        self.notify.bind(self.address)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start a process and wait for its READY=1."""
        environment = os.environ | {"NOTIFY_SOCKET": self.address, "LISTEN_FDS": "1"}
        self.processes.append(subprocess.Popen(self.argv, cwd=self.directory, env=environment, pass_fds=(FIRST_FD,)))
        while b"READY=1" not in self.notify.recv(4096):
            continue

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        self.processes.remove(process)
        process.send_signal(signal.SIGTERM)
        process.wait()

    def roll(self) -> None:
        """Replace all processes, the most recently started first, like deployd."""
        for old in reversed(self.processes.copy()):
            if self.surge:
                self.start()
            self.stop(old)
            if not self.surge:
                self.start()

    def run(self, count: int) -> None:
        for _ in range(count):
            self.start()
        print("ready", flush=True)
        while sys.stdin.readline():
            self.roll()
            print("rolled", flush=True)
        for process in self.processes.copy():
            self.stop(process)


if __name__ == "__main__":
    port, count, surge, backlog = map(int, sys.argv[1:5])
    Supervisor(port, bool(surge), backlog, sys.argv[5], sys.argv[6:]).run(count)
