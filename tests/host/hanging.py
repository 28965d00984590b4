"""A mount on a host that a test can hang; see passthrough.py."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.host.machine import Machine
from tests.host.root import IN_HOST


class HangingMount:
    """`directory` on the host, a read-only view of `directory`.real, in which files can be written."""

    def __init__(self, machine: Machine, directory: str) -> None:
        self.machine = machine
        self.directory = directory
        self.real = f"{directory}.real"
        machine.run(["mkdir", "-p", directory, self.real])
        script = str(IN_HOST / "tests/host/passthrough.py")
        self._server = machine.popen(["python3", script, self.real, directory], stdout=subprocess.PIPE)
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "READY\n"

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Let all accesses to the directory hang during the block."""
        self.machine.signal(self._server, signal.SIGSTOP)
        try:
            yield
        finally:
            self.machine.signal(self._server, signal.SIGCONT)

    def remove(self) -> None:
        """Unmount the directory, which ends the server."""
        self.machine.run(["umount", "--lazy", self.directory])
        self._server.kill()
        self._server.communicate()
