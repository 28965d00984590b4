"""What this machine allows, found out by trying: a listener of our own is asked for, lent and steered."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deployd.errors import SteeringError
from deployd.steering import syscalls
from deployd.steering.diag import Diag, Listener
from deployd.steering.listeners import cgroup_root
from deployd.steering.steering import Steering
from deployd.steering.syscalls import told


class Tier(StrEnum):
    """By what connections are steered, best first."""

    EBPF = "ebpf"
    CBPF = "cbpf"
    """Classic BPF, which needs no privilege: only the kernel's bpf() is refused."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Support:
    """The best tier there is, and why it is no better: for people, empty if it is the best."""

    tier: Tier
    reason: str = ""


def probe(pid: int = 1) -> Support:
    """Try everything that steering needs with a listener of our own; `pid` is who holds the apps' listeners.

    Takes some milliseconds. Never raises.
    """
    try:
        with _listener() as listener:
            _is_told_of(listener)
            _lends(pid)
            try:
                _is_steered(listener)
            except Exception as error:
                return Support(Tier.CBPF, f"eBPF cannot be used: {_said(error)}")
    except Exception as error:  # whatever it is, the daemon can do without steering
        return Support(Tier.NONE, f"connections cannot be steered: {_said(error)}")
    return Support(Tier.EBPF)


@contextmanager
def _listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        with told("listen on a port of 127.0.0.1"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(("127.0.0.1", 0))
            made.listen(1)
        yield made


def _is_told_of(listener: socket.socket) -> None:
    if cgroup_root() is None:
        raise SteeringError("no cgroup v2 hierarchy is mounted, so that nothing tells which unit a socket belongs to")
    one = _found(listener)
    if not one.cgroup:
        raise SteeringError("the kernel does not tell a socket's cgroup, as it can since Linux 5.8")
    Diag().connections([one.cgroup])


def _lends(pid: int) -> None:
    with told(f"take a file descriptor from process {pid}"):
        pidfd = os.pidfd_open(pid)
        try:
            # Whichever it is: the lowest one is hardly closed between the two calls.
            lowest = min(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
            os.close(syscalls.pidfd_getfd(pidfd, lowest))
        finally:
            os.close(pidfd)


def _is_steered(listener: socket.socket) -> None:
    steering = Steering("probe", pid=os.getpid())
    try:
        if steering.sync({1: [_found(listener)]}):
            raise SteeringError("a listener cannot be put into the kernel's array")
    finally:
        steering.close()


def _found(listener: socket.socket) -> Listener:
    inode = os.fstat(listener.fileno()).st_ino
    for one in Diag().listeners(listener.getsockname()[1]):
        if one.inode == inode:
            return one
    raise SteeringError("the kernel does not tell of a socket that listens (sock_diag)")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
