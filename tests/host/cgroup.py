"""The cgroup of one disposable host: creation, joining, removal, and removal of those whose owner died.

It is directly below the cgroup2 mount, which works on hybrid and on pure v2 machines, and does not interfere with a
systemd running there. Its name contains its owner process (PID and start time), so that later boots detect stale ones.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

PREFIX = "deployd-host"

# The process moves itself before it executes the program, so there is no race with its children. A process that enters
# a host moves when it is inside, because a process in the cgroup that the host cannot name confuses its systemd. The
# file is opened outside, because the kernel checks a move across a cgroup namespace against the opener of the file.
JOIN = 'echo 0 > "$1" && shift && exec "$@"'
OPEN = 'exec 9> "$1" && shift && exec "$@"'
JOIN_OPENED = 'echo 0 >&9 && exec 9>&- && exec "$@"'


class CgroupError(Exception):
    """The cgroup cannot be created, or does not become empty in time."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One cgroup v2 directory."""

    path: Path

    @classmethod
    def create(cls, name: str, owner: int) -> Cgroup:
        """Create the cgroup of process `owner`."""
        path = mount_point() / f"{PREFIX}.{owner}.{start_time(owner)}.{name}"
        path.mkdir()
        return cls(path)

    def join(self, argv: list[str]) -> list[str]:
        """Return the command that runs `argv` in this cgroup."""
        return ["/bin/sh", "-c", JOIN, "sh", str(self.path / "cgroup.procs"), *argv]

    def join_after(self, enter: list[str], argv: list[str], below: str) -> list[str]:
        """Return the command that runs `enter` and, through it, `argv` in the child cgroup `below`."""
        opened = ["/bin/sh", "-c", OPEN, "sh", str(self.path / below / "cgroup.procs"), *enter]
        return [*opened, "/bin/sh", "-c", JOIN_OPENED, "sh", *argv]

    def move(self, pid: int) -> None:
        """Move process `pid` into this cgroup."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def pids(self) -> list[int]:
        """Return all processes in the cgroup and below it (0 for one outside of this PID namespace)."""
        found = []
        for directory, _, _ in os.walk(self.path):
            with contextlib.suppress(OSError):
                found += [int(line) for line in (Path(directory) / "cgroup.procs").read_text().split()]
        return found

    def remove(self, timeout: float) -> None:
        """Kill all processes in the cgroup, wait until it is empty, and remove it depth first."""
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
    """Return the mount point of the cgroup2 hierarchy."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split()[4].replace("\\040", " "))
    raise CgroupError("no cgroup2 hierarchy is mounted, so no systemd can be booted here")


def own() -> Cgroup:
    """Return the cgroup v2 of this process."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return Cgroup(mount_point() / line.removeprefix("0::/"))
    raise CgroupError("this process is in no cgroup v2")


def start_time(pid: int) -> str:
    """Return the start time of process `pid` in clock ticks since boot, "" if there is none or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def stale() -> list[Cgroup]:
    """Return the cgroups of hosts whose owner has died."""
    found = []
    for path in mount_point().glob(f"{PREFIX}.*"):
        _, pid, started, *_ = path.name.split(".", 3)
        if start_time(int(pid)) != started:
            found.append(Cgroup(path))
    return found


def sweep(timeout: float) -> None:
    """Remove the cgroups of dead owners. Another boot may do the same at the same time."""
    for cgroup in stale():
        with contextlib.suppress(FileNotFoundError):
            cgroup.remove(timeout)
