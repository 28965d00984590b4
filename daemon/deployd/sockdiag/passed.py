"""Whether the processes of a unit have a listening socket that they were passed, and on what else they listen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployd.sockdiag import holders, unix_diag
from deployd.sockdiag.inet_diag import Diag


@dataclass(frozen=True, slots=True)
class Found:
    """The listening sockets of a unit's processes."""

    passed: bool
    """True if one of them was made outside of the unit."""
    own: tuple[str, ...] = ()
    """The addresses of those that its processes have made themselves; not read if `passed` is true."""
    waiting: frozenset[int] = frozenset()
    """The connections that wait to be accepted from the first TCP socket that was passed; without a TCP socket, from
    the UNIX sockets."""
    unknown: int = 0
    """Further ones that cannot be distinguished, because their clients have closed them (UNIX only)."""
    accepts: bool = False
    """True if connections from these sockets have been accepted, by whatever process."""

    def accepted_since(self, before: Found) -> bool:
        """True if a connection that waited `before` was accepted: more are missing than have become unknown."""
        return len(before.waiting - self.waiting) > self.unknown - before.unknown


@dataclass(slots=True)
class Listening:
    """All listening sockets of this network namespace, read once for any number of units. Raises SteeringError.

    A TCP socket has the cgroup in which it was made. UNIX sockets, and TCP sockets before Linux 5.9, do not: of these,
    the service manager has all those that it passes.
    """

    tcp: Mapping[int, tuple[str, int, int]]
    """Inode to address, cgroup and length of the queue."""
    unix: Mapping[int, tuple[str, int]]
    """Inode to path and length of the queue."""
    _systemd: set[int] | None = field(default=None)
    _manager: int = 1
    """The PID of the service manager."""
    _diag: Diag = field(default_factory=Diag)

    @classmethod
    def read(cls, diag: Diag, manager: int = 1) -> Listening:
        """Return the sockets that listen now."""
        listeners = diag.listeners()
        tcp = {item.inode: (_words(item.address, item.port), item.cgroup, item.queue) for item in listeners}
        return cls(tcp, unix_diag.listeners(), _diag=diag, _manager=manager)

    def of_unit(self, cgroup: Path, apart: Iterable[str] = ()) -> Found:
        """Return what the processes in `cgroup` and below have; sockets with a path in `apart` do not count."""
        inside, others = holders.cgroup_ids(cgroup), set(apart)
        mine: set[int] = set()
        for inode in holders.each_inode(cgroup):
            if inode in self.tcp:
                _, made_in, queue = self.tcp[inode]
                if made_in and made_in not in inside:
                    waiting, accepts = self._diag.waiting(made_in) if queue else (frozenset[int](), False)
                    return Found(passed=True, waiting=waiting, accepts=accepts)
            if inode not in self.unix or self.unix[inode][0] not in others:
                mine.add(inode)
        # Not only those that listen here: a socket may be of another network namespace, or for datagrams.
        if mine and (passed := mine & self._of_systemd()):
            return self._passed(passed)
        own = {self.tcp[inode][0] for inode in mine & self.tcp.keys()}
        return Found(passed=False, own=tuple(sorted(own | {self.unix[inode][0] for inode in mine & self.unix.keys()})))

    def _passed(self, inodes: Iterable[int]) -> Found:
        """Return what waits at the UNIX sockets among those that were passed."""
        queues = {inode: queue for inode in inodes if inode in self.unix and (queue := self.unix[inode][1])}
        if not queues:
            return Found(passed=True)
        waiting, unknown = unix_diag.waiting(queues)
        accepts = bool(unix_diag.accepted({self.unix[inode][0] for inode in queues}))
        return Found(passed=True, waiting=waiting, unknown=unknown, accepts=accepts)

    def _of_systemd(self) -> set[int]:
        if self._systemd is None:
            self._systemd = holders.of_process(self._manager)
        return self._systemd


def _words(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
