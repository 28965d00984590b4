"""Whether this machine can steer connections, found out by steering to a listener of our own."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployd.errors import SteeringError, steering_errors
from deployd.reuseport import syscalls
from deployd.reuseport.listeners import cgroup_root
from deployd.reuseport.steering import Steering
from deployd.sockdiag.inet_diag import Diag, Listener

log = logging.getLogger(__name__)


def probe(pid: int = 1) -> str:
    """Return why this machine cannot steer connections, or "" if it can. Process `pid` holds the listeners of the apps.
    Logs a warning if the kernel cannot count what instances have to do.

    Takes some milliseconds. Never raises.
    """
    try:
        with _listener() as listener:
            _check_cgroup(listener)
            _check_borrowing(pid)
            _check_program(listener)
    except Exception as error:  # whatever it is, the daemon works without steering
        return str(error) or type(error).__name__
    return ""


@contextmanager
def _listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        with steering_errors("listen on a port of 127.0.0.1"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(("127.0.0.1", 0))
            made.listen(1)
        yield made


def _check_cgroup(listener: socket.socket) -> None:
    """Check that the unit of a listener can be found by its cgroup."""
    if cgroup_root() is None:
        raise SteeringError("cannot find the unit of a socket, because no cgroup v2 hierarchy is mounted")
    one = _found(listener)
    if not one.cgroup:
        raise SteeringError("cannot find the unit of a socket, because the kernel is older than Linux 5.8")
    Diag().connections([one.cgroup])


def _check_borrowing(pid: int) -> None:
    with steering_errors(f"take a file descriptor from process {pid}, which needs CAP_SYS_PTRACE"):
        pidfd = os.pidfd_open(pid)
        try:
            # Any descriptor will do; the lowest is unlikely to be closed between the two calls.
            lowest = min(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
            os.close(syscalls.pidfd_getfd(pidfd, lowest))
        finally:
            os.close(pidfd)


def _check_program(listener: socket.socket) -> None:
    """Check that the program can be loaded and attached, and the listener added to its array."""
    steering = Steering("probe", pid=os.getpid())
    try:
        if steering.sync({1: [_found(listener)]}):
            raise SteeringError("cannot put a listener into the array of the BPF program")
        if steering.in_turn:
            log.warning("instances get new connections in turn, not the least busy one first: %s", steering.in_turn)
    finally:
        steering.close()


def _found(listener: socket.socket) -> Listener:
    inode = os.fstat(listener.fileno()).st_ino
    for one in Diag().listeners(listener.getsockname()[1]):
        if one.inode == inode:
            return one
    raise SteeringError("cannot find a listening socket by sock_diag(7)")
