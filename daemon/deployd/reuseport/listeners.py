"""Finds the listeners of systemd units, and duplicates them for a moment.

The listeners are open in PID 1. The cgroup in which a listener was created identifies its unit. It is duplicated from
the process that has it by pidfd_getfd(2), which requires CAP_SYS_PTRACE."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from deployd.errors import steering_errors
from deployd.reuseport import syscalls
from deployd.sockdiag.inet_diag import Diag, Listener

FEW = 16
"""Cgroups for which the kernel is asked in particular."""
MOUNTS = Path("/proc/self/mounts")
SO_DETACH_BPF, SO_DETACH_REUSEPORT_BPF = 27, 68


def cgroup_root(mounts: Path = MOUNTS) -> Path | None:
    """Return where the cgroup v2 hierarchy is mounted, or None if it is not mounted."""
    for line in mounts.read_text().splitlines():
        _, directory, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(directory)
    return None


def cgroup_id(directory: Path) -> int | None:
    """Return the number of a cgroup in the kernel, or None if it does not exist, as that of an inactive unit."""
    try:
        return directory.stat().st_ino
    except OSError:
        return None


def by_instance(diag: Diag, cgroups: Mapping[int, Path]) -> dict[int, list[Listener]]:
    """Return the listeners of each instance. `cgroups`: the cgroup directories of their socket units. Raises
    SteeringError."""
    ids = {number: cgroup_id(directory) for number, directory in cgroups.items()}
    numbers = {made_in: number for number, made_in in ids.items() if made_in is not None}
    found: dict[int, list[Listener]] = {number: [] for number in cgroups}
    # The kernel compares each listener with each cgroup: with many it is faster to look at all.
    for listener in diag.listeners(cgroups=numbers if len(numbers) <= FEW else ()) if numbers else ():
        if listener.cgroup in numbers:
            found[numbers[listener.cgroup]].append(listener)
    return found


def share_ports(inodes: Collection[int], pid: int = 1) -> None:
    """Set SO_REUSEPORT on listeners of a process that were made without it, so that others may listen at their
    addresses, too. Raises SteeringError."""
    for listener in _borrowed_sockets(inodes, pid):
        with steering_errors("share the address of a listener"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def detach(inodes: Collection[int], pid: int = 1) -> None:
    """Detach all programs from these listeners, of which each is the last one of its group. Raises SteeringError.

    SO_REUSEPORT is left: the kernel would let others listen at an address that was shared once, with and without it.
    """
    for listener in _borrowed_sockets(inodes, pid):
        for option in (SO_DETACH_BPF, SO_DETACH_REUSEPORT_BPF):
            with suppress(OSError):  # it has none
                listener.setsockopt(socket.SOL_SOCKET, option, 1)


def _borrowed_sockets(inodes: Collection[int], pid: int) -> Iterator[socket.socket]:
    with borrowed(inodes, pid) as found:
        for fd in found.values():
            with socket.socket(fileno=os.dup(fd)) as listener:
                yield listener


@contextmanager
def borrowed(inodes: Collection[int], pid: int = 1) -> Iterator[dict[int, int]]:
    """Duplicate these sockets of process `pid`: inode to descriptor, closed at the end. Closed sockets are left out.

    Be quick: if a socket unit stops while a duplicate is open, its listener stays, and connections wait there in vain.
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
        if not wanted:
            return
        try:
            # PID 1 has hundreds of descriptors, and pathlib takes several times as long.
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
            continue  # closed in the meantime
        held.callback(os.close, fd)
        if os.fstat(fd).st_ino == inode:  # the descriptor is still that of the same socket
            del wanted[f"socket:[{inode}]"]
            yield inode, fd
