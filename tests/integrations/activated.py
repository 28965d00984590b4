"""A program that is started as by systemd: a listening socket at descriptor 3, and a socket for its notifications."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

INTEGRATIONS = Path(__file__).resolve().parents[2] / "integrations"
DEADLINE = 30.0
FIRST = 3
EXEC = 'export LISTEN_PID=$$; exec "$@"'


@dataclass(slots=True)
class Activated:
    """A running program. A context manager that kills it."""

    process: subprocess.Popen[str]
    notify: socket.socket
    address: tuple[str, int]

    @classmethod
    def start(
        cls,
        argv: Sequence[object],
        directory: Path,
        env: Mapping[str, str] | None = None,
        others: Sequence[socket.socket] = (),
    ) -> Self:
        """Start a program with a listener of its own, and with `others`."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = directory / "notify"
        path.unlink(missing_ok=True)
        notify.bind(str(path))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            passed = [item.fileno() for item in (listener, *others)]
            activation = {"NOTIFY_SOCKET": str(path), "LISTEN_FDS": str(len(passed))}
            redirections = " ".join(f"{FIRST + number}<&{descriptor}" for number, descriptor in enumerate(passed))
            process = subprocess.Popen(
                ["bash", "-c", f"{EXEC} {redirections}", "bash", *map(str, argv)],
                cwd=directory,
                env={**os.environ, **activation, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=passed,
                text=True,
            )
            return cls(process, notify, listener.getsockname())

    def said(self, within: float = DEADLINE) -> str:
        """Return the next notification; nothing if the program ends, or says nothing for so long."""
        self.notify.settimeout(0.05)
        end = time.monotonic() + within
        while time.monotonic() < end:
            try:
                return self.notify.recv(4096).decode()
            except TimeoutError:
                if self.process.poll() is not None:
                    break
        return ""

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, DEADLINE)

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM; return exit status and output."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for the end; return exit status and output."""
        output, _ = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.notify.close()


def ask(connection: socket.socket) -> bytes:
    """Send a request on a connection that is to be kept; return the head of the response, and read its body."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")
    got = b""
    while b"\r\n\r\n" not in got:
        data = connection.recv(65536)
        assert data, got
        got += data
    head, _, body = got.partition(b"\r\n\r\n")
    fields = head.lower().split(b"\r\n")
    [length] = [int(field.partition(b":")[2]) for field in fields if field.startswith(b"content-length:")]
    while len(body) < length:
        body += connection.recv(65536)
    return head.lower()
