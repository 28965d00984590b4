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
    """The connections that wait to be accepted from the first TCP socket that was passed."""
    accepts: bool = False
    """True if connections from that socket have been accepted, by whatever process."""


@dataclass(slots=True)
class Listening:
    """All listening sockets of this network namespace, read once for any number of units. Raises SteeringError.

    A TCP socket has the cgroup in which it was made. UNIX sockets, and TCP sockets before Linux 5.9, do not: of these,
    PID 1 has all those that it passes.
    """

    tcp: Mapping[int, tuple[str, int, int]]
    """Inode to address, cgroup and length of the queue."""
    unix: Mapping[int, str]
    """Inode to path."""
    _systemd: set[int] | None = field(default=None)
    _diag: Diag = field(default_factory=Diag)

    @classmethod
    def read(cls, diag: Diag) -> Listening:
        """Return the sockets that listen now."""
        listeners = diag.listeners()
        tcp = {item.inode: (_words(item.address, item.port), item.cgroup, item.queue) for item in listeners}
        return cls(tcp, unix_diag.listeners(), _diag=diag)

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
            if self.unix.get(inode) not in others:
                mine.add(inode)
        # Not only those that listen here: a socket may be of another network namespace, or for datagrams.
        if mine and mine & self._of_systemd():
            return Found(passed=True)
        own = {self.tcp[inode][0] for inode in mine & self.tcp.keys()}
        return Found(passed=False, own=tuple(sorted(own | {self.unix[inode] for inode in mine & self.unix.keys()})))

    def _of_systemd(self) -> set[int]:
        if self._systemd is None:
            self._systemd = holders.of_process(1)
        return self._systemd


def _words(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
