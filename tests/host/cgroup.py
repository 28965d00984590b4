"""The cgroup of one disposable host: made, joined, waited for, removed, and swept after owners that died.

It lies directly below the cgroup2 mount: that works on hybrid and on pure v2 machines, and disturbs no systemd that may
run there. Its name carries the process that answers for it (pid and start time), so a later boot sees what is stale.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

PREFIX = "deployd-host"

# The process that is about to become the program moves itself: nothing races with its children. Who enters a host moves
# when it is inside, for a process in the cgroup that the host cannot name upsets its systemd. The file
# is opened outside all the same, for the kernel judges a move across a cgroup namespace by who opened it.
JOIN = 'echo 0 > "$1" && shift && exec "$@"'
OPEN = 'exec 9> "$1" && shift && exec "$@"'
JOIN_OPENED = 'echo 0 >&9 && exec 9>&- && exec "$@"'


class CgroupError(Exception):
    """The cgroup cannot be made, or does not become empty in time."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One cgroup v2 directory."""

    path: Path

    @classmethod
    def create(cls, name: str, owner: int) -> Cgroup:
        """Make the cgroup that process `owner` answers for."""
        path = mount_point() / f"{PREFIX}.{owner}.{start_time(owner)}.{name}"
        path.mkdir()
        return cls(path)

    def join(self, argv: list[str]) -> list[str]:
        """The command that runs `argv` in this cgroup."""
        return ["/bin/sh", "-c", JOIN, "sh", str(self.path / "cgroup.procs"), *argv]

    def join_after(self, enter: list[str], argv: list[str], below: str) -> list[str]:
        """The command that runs `enter`, and by it, in the child cgroup `below`, `argv`."""
        opened = ["/bin/sh", "-c", OPEN, "sh", str(self.path / below / "cgroup.procs"), *enter]
        return [*opened, "/bin/sh", "-c", JOIN_OPENED, "sh", *argv]

    def move(self, pid: int) -> None:
        """Move process `pid` into this cgroup."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def pids(self) -> list[int]:
        """Every process in it or below it (0 stands for one that our pid namespace cannot name)."""
        found = []
        for directory, _, _ in os.walk(self.path):
            with contextlib.suppress(OSError):
                found += [int(line) for line in (Path(directory) / "cgroup.procs").read_text().split()]
        return found

    def remove(self, timeout: float) -> None:
        """Kill what runs in it, wait until it is empty, remove it depth first."""
        deadline = time.monotonic() + timeout
        if not self.path.exists():
            return
        (self.path / "cgroup.kill").write_text("1")
        self._wait_empty(deadline)
        for directory, _, _ in os.walk(self.path, topdown=False):
            Path(directory).rmdir()

    def _wait_empty(self, deadline: float) -> None:
        with (self.path / "cgroup.events").open("rb", buffering=0) as events:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while b"populated 1" in events.read():
                left = deadline - time.monotonic()
                if left <= 0 or not poll.poll(left * 1000):
                    raise CgroupError(f"{self.path} still has processes: {self.pids()}")
                events.seek(0)


def mount_point() -> Path:
    """Where the cgroup2 hierarchy is mounted here."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split()[4].replace("\\040", " "))
    raise CgroupError("no cgroup2 hierarchy is mounted, so no systemd can be booted here")


def own() -> Cgroup:
    """The cgroup v2 this process is in."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return Cgroup(mount_point() / line.removeprefix("0::/"))
    raise CgroupError("this process is in no cgroup v2")


def start_time(pid: int) -> str:
    """When process `pid` started, in clock ticks since boot; empty when there is none, or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def stale() -> list[Cgroup]:
    """Cgroups of hosts whose owner is dead."""
    found = []
    for path in mount_point().glob(f"{PREFIX}.*"):
        _, pid, started, *_ = path.name.split(".", 3)
        if start_time(int(pid)) != started:
            found.append(Cgroup(path))
    return found


def sweep(timeout: float) -> None:
    """Remove what dead owners left. Another boot may sweep at the same time: what is gone already is fine."""
    for cgroup in stale():
        with contextlib.suppress(FileNotFoundError):
            cgroup.remove(timeout)
