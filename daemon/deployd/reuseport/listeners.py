"""Whose listener is which, and a duplicate of it for a moment.

systemd holds the listeners. Which unit one belongs to says the cgroup in which it was created; a duplicate comes from
the process that holds it, by pidfd_getfd(2), which takes CAP_SYS_PTRACE.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deployd.errors import steering_errors
from deployd.reuseport import syscalls
from deployd.sockdiag.inet_diag import Diag, Listener

MOUNTS = Path("/proc/self/mounts")


def cgroup_root(mounts: Path = MOUNTS) -> Path | None:
    """Where the cgroup v2 hierarchy is mounted; None if it is not."""
    for line in mounts.read_text().splitlines():
        _, directory, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(directory)
    return None


def cgroup_id(directory: Path) -> int | None:
    """The kernel's number of a cgroup; None if it is gone, as that of a unit that does not run is."""
    try:
        return directory.stat().st_ino
    except OSError:
        return None


def by_instance(diag: Diag, cgroups: Mapping[int, Path]) -> dict[int, list[Listener]]:
    """The listeners of each instance, told the cgroup directories of their socket units. Raises SteeringError."""
    numbers = {cgroup_id(directory): number for number, directory in cgroups.items()}
    found: dict[int, list[Listener]] = {number: [] for number in cgroups}
    for listener in diag.listeners():
        if listener.cgroup in numbers:
            found[numbers[listener.cgroup]].append(listener)
    return found


@contextmanager
def borrowed(inodes: Collection[int], pid: int = 1) -> Iterator[dict[int, int]]:
    """Duplicates (fds) of these sockets of process `pid` by inode, closed at the end. Those that are gone are left out.

    Be quick: while a duplicate is open, a socket unit that stops leaves a listener behind that nobody accepts from.
    Raises SteeringError.
    """
    with ExitStack() as held:
        with steering_errors(f"take a socket from process {pid}"):
            yielded = dict(_duplicates(frozenset(inodes), pid, held)) if inodes else {}
        yield yielded


def _duplicates(inodes: frozenset[int], pid: int, held: ExitStack) -> Iterator[tuple[int, int]]:
    pidfd = os.pidfd_open(pid)
    held.callback(os.close, pidfd)
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    with os.scandir(f"/proc/{pid}/fd") as entries:
        names = [entry.name for entry in entries]
    for name in names:
        try:
            # PID 1 has hundreds of them, and pathlib takes several times as long.
            inode = wanted.get(os.readlink(f"/proc/{pid}/fd/{name}"))  # noqa: PTH115
        except FileNotFoundError:
            continue
        if inode is None:
            continue
        try:
            fd = syscalls.pidfd_getfd(pidfd, int(name))
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            continue  # closed between the two looks
        held.callback(os.close, fd)
        if os.fstat(fd).st_ino == inode:  # the number has not become another file's
            del wanted[f"socket:[{inode}]"]
            yield inode, fd
