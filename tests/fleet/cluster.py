"""A real etcd: members that are processes of this machine, with the package of Debian unpacked into a directory."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from tests.host.root import HostRoot
from tests.servers.packages import debian_packages

PACKAGES = ("etcd-server", "etcd-client")
DEADLINE = 60.0
LOOPBACK = "127.0.0.1"


class Member:
    """One etcd. `prefix` is a command that runs the rest of its arguments, for example in another namespace."""

    def __init__(
        self,
        name: str,
        address: str,
        ports: tuple[int, int],
        directory: Path,
        prefix: Sequence[str] = (),
        scheme: str = "http",
    ) -> None:
        self.name = name
        self.client = f"{scheme}://{address}:{ports[0]}"
        self.peer = f"http://{address}:{ports[1]}"
        self._directory = directory
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.settimeout(DEADLINE)
        self._notify_path = str(directory / name)
        self._notify.bind(self._notify_path)

    def start(self, program: Path, members: Sequence[Member], *options: str) -> None:
        """Start it, for the first time or again."""
        command = [*self._prefix, str(program), "--name", self.name]
        command += ["--data-dir", str(self._directory / f"{self.name}.d")]
        command += ["--listen-client-urls", self.client, "--advertise-client-urls", self.client]
        command += ["--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer]
        command += ["--initial-cluster", ",".join(f"{item.name}={item.peer}" for item in members)]
        log = self._directory / f"{self.name}.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--logger", "zap", "--log-level", "warn", *options],
                env={"NOTIFY_SOCKET": self._notify_path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait(self) -> None:
        """Wait until it is part of the cluster."""
        while b"READY=1" not in self._notify.recv(4096):
            pass

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it at once, as by default, or as another signal does."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP and SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    def log(self) -> str:
        """Return the end of what it wrote."""
        return "\n".join((self._directory / f"{self.name}.log").read_text(errors="replace").splitlines()[-20:])

    def close(self) -> None:
        self.stop()
        self._notify.close()


class Cluster:
    """Members that run from the start to the end of the context, but for those that a test stops.

    With a `prefix`, they have the ports 2379, 2389, … of an address there. `tls` are options of etcd.
    """

    def __init__(
        self, size: int = 1, address: str = LOOPBACK, prefix: Sequence[str] = (), tls: Sequence[str] = ()
    ) -> None:
        self._directory = TemporaryDirectory(dir="/tmp", prefix="etcd.")  # a short path, for sockets
        root = Path(self._directory.name)
        for package in debian_packages(HostRoot.native(), PACKAGES):
            subprocess.run(["dpkg-deb", "--extract", package, root], check=True, timeout=DEADLINE)
        self.program = root / "usr/bin/etcd"
        self.members: list[Member] = []
        self._tls = tls
        for number in range(size):
            ports = (2379 + 10 * number, 2380 + 10 * number) if prefix else (_free_port(), _free_port())
            scheme = "https" if tls else "http"
            self.members.append(Member(f"m{number}", address, ports, root, prefix, scheme))

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.client for member in self.members)

    def __enter__(self) -> Self:
        try:
            self.start(*self.members)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def start(self, *members: Member) -> None:
        """Start these members, and wait until they are part of the cluster."""
        for member in members:
            member.start(self.program, self.members, *self._tls)
        for member in members:
            member.wait()

    def close(self) -> None:
        for member in self.members:
            member.close()
        self._directory.cleanup()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return int(found.getsockname()[1])
