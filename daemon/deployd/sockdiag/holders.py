"""The sockets that the processes of a unit have open, which sock_diag does not report for UNIX sockets."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from deployd.errors import SteeringError

_SOCKET = re.compile(r"socket:\[([0-9]+)\]")


def inodes(cgroup: Path, proc: Path = Path("/proc")) -> set[int]:
    """Return the inodes of all sockets that processes in `cgroup` and below have open. Raises SteeringError."""
    return set(each_inode(cgroup, proc))


def each_inode(cgroup: Path, proc: Path = Path("/proc")) -> Iterator[int]:
    """Yield the inodes of the sockets that processes in `cgroup` and below have open. Raises SteeringError."""
    for process in processes_of(cgroup):
        yield from _sockets(proc / process / "fd")


def of_process(pid: int, proc: Path = Path("/proc")) -> set[int]:
    """Return the inodes of the sockets that a process has open. Raises SteeringError."""
    return set(_sockets(proc / str(pid) / "fd"))


def cgroup_ids(cgroup: Path) -> set[int]:
    """Return the numbers that `cgroup` and those below have in the kernel; none if the unit has ended."""
    try:
        return {os.stat(directory).st_ino for directory in _directories(cgroup)}  # noqa: PTH116 - as below
    except OSError:
        return set()


def processes(wanted: Collection[int], proc: Path = Path("/proc")) -> list[tuple[int, int]]:
    """Return (inode, PID) for each process that has one of these sockets open, by PID. Processes that cannot be read
    are left out."""
    found = []
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):  # noqa: PTH208 - as below
        with contextlib.suppress(SteeringError):
            found += [(inode, pid) for inode in set(_sockets(proc / str(pid) / "fd")).intersection(wanted)]
    return found


def processes_of(cgroup: Path) -> list[str]:
    """Return the PIDs of the processes in `cgroup` and below; none if the unit has ended."""
    return [line for directory in _directories(cgroup) for line in _lines(f"{directory}/cgroup.procs")]


def _directories(cgroup: Path) -> Iterator[str]:
    """Yield `cgroup` and those below. The entries say which are directories: each has dozens of files, and pathlib
    would ask for the kind of each."""
    return (directory for directory, _, _ in os.walk(cgroup))


def _lines(file: str) -> list[str]:
    """Return the lines of a file, none if its cgroup has been removed meanwhile."""
    try:
        with open(file, encoding="ascii") as lines:  # noqa: PTH123 - makes no Path of each of thousands
            return lines.read().split()
    except OSError:
        return []


def _sockets(directory: Path) -> Iterator[int]:
    try:
        for name in os.listdir(directory):  # noqa: PTH208 - makes no Path of each of thousands
            try:
                match = _SOCKET.fullmatch(os.readlink(f"{directory}/{name}"))  # noqa: PTH115 - the same
            except FileNotFoundError:  # closed meanwhile
                continue
            if match:
                yield int(match[1])
    except PermissionError as error:
        raise SteeringError(f"cannot read {directory}: {error.strerror}") from error
    except OSError:
        pass  # the process has ended
