"""Available memory, the memory of a unit, and notifications of memory pressure.

Available is MemAvailable of proc_meminfo(5). A unit uses memory.current of its cgroup; where the memory controller is
off, the resident memory of its processes is added up, which counts shared pages more than once. What another process
of the kind needs is less: the page cache in memory.current is dropped when memory is short, as MemAvailable assumes
(memory.stat in cgroup-v2.rst: `file` contains `shmem`, which cannot be dropped). Pressure is reported by
pressure stall information (accounting/psi.rst of the kernel): a trigger is written once to /proc/pressure/memory, and
its descriptor has POLLPRI whenever it fires. Before Linux 6.5 or so a trigger requires CAP_SYS_RESOURCE.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path

from deployd.errors import SystemdError
from deployd.plan.surge import Pool
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE

TRIGGER = "some 150000 2000000"
"""Fires if some task waited for memory for 150 ms of 2 s. Without privileges the window must be a multiple of 2 s."""
PRESSURE = Path("/proc/pressure/memory")
MEMINFO = Path("/proc/meminfo")
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
"""Where cgroup v2 is mounted, alone or alongside v1."""
PROC = Path("/proc")


def available(meminfo: Path = MEMINFO) -> int | None:
    """Return the bytes that are available without swapping, or None where the kernel does not report them."""
    return _meminfo(meminfo).get("MemAvailable")


def pools(group: str, roots: tuple[Path, ...] = CGROUPS, meminfo: Path = MEMINFO) -> tuple[Pool, ...]:
    """Return the memory of the machine, and of each slice around a cgroup that limits it (MemoryMax=, MemoryHigh=)."""
    known = _meminfo(meminfo)
    found = [Pool(known["MemTotal"], known["MemAvailable"])] if {"MemTotal", "MemAvailable"} <= known.keys() else []
    for root in roots:
        for above in (root / group.lstrip("/")).parents:
            if above == root or root not in above.parents:
                break
            limits = [size for name in ("max", "high") if (size := _number(above / f"memory.{name}")) is not None]
            used = _used(above)
            if limits and used is not None:
                found.append(Pool(min(limits), max(0, min(limits) - used)))
    return tuple(found)


def demand(group: str, roots: tuple[Path, ...] = CGROUPS, proc: Path = PROC) -> int | None:
    """Return the bytes that another unit like this one will use, without page cache; None if it does not run."""
    if not group.strip("/"):
        return None
    for root in roots:
        directory = root / group.lstrip("/")
        if (used := _used(directory)) is not None:
            return used
        if pids := _pids(directory):
            return sum(_resident(proc, pid) - _resident(proc, pid, shared=True) for pid in pids)
    return None


def _meminfo(path: Path) -> dict[str, int]:
    """Return the amounts of /proc/meminfo in bytes, as far as they can be read."""
    found = {}
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if value.endswith(" kB"):
                found[name] = int(value.split()[0]) * 1024
    except (OSError, ValueError):
        pass
    return found


def _used(directory: Path) -> int | None:
    """Return the bytes that a cgroup uses without page cache, None where the memory controller is off."""
    current = _number(directory / "memory.current")
    try:
        lines = (directory / "memory.stat").read_text(encoding="ascii").splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
    except (OSError, ValueError):
        return current
    return None if current is None else max(0, current - stat.get("file", 0) + stat.get("shmem", 0))


def _number(path: Path) -> int | None:
    """Return the number in a file of a cgroup; None if there is none, as in one without a limit ("max")."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


async def held(systemd: Systemd, unit: str) -> int | None:
    """Return the bytes that a running unit uses, or None if they are unknown."""
    return of_cgroup(await cgroup(systemd, unit))


async def cgroup(systemd: Systemd, unit: str) -> str:
    """Return the cgroup of a running unit, "" if it is unknown."""
    try:
        return str((await systemd.read(unit, SERVICE, ("ControlGroup",)))["ControlGroup"])
    except SystemdError:
        return ""


def of_cgroup(group: str, roots: tuple[Path, ...] = CGROUPS, proc: Path = PROC) -> int | None:
    """Return the bytes that a cgroup uses, from its controller or from its processes."""
    if not group.strip("/"):
        return None
    for root in roots:
        directory = root / group.lstrip("/")
        if (current := _number(directory / "memory.current")) is not None:
            return current
        if pids := _pids(directory):
            return sum(_resident(proc, pid) for pid in pids)
    return None


def _pids(directory: Path) -> list[int]:
    try:
        lists = [path.read_text(encoding="ascii") for path in directory.rglob("cgroup.procs")]
    except OSError:
        return []
    return [int(pid) for text in lists for pid in text.split()]


def _resident(proc: Path, pid: int, *, shared: bool = False) -> int:
    """Return the bytes of a process that are in memory, or how many of them other processes may share."""
    try:
        words = (proc / str(pid) / "statm").read_text(encoding="ascii").split()
        return int(words[1 + shared]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0  # the process has ended


def trigger(path: Path = PRESSURE) -> int:
    """Return a descriptor that has POLLPRI whenever memory is short. Raises OSError where the kernel has none."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, TRIGGER.encode() + b"\0")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Pressure:
    """Calls `on_pressure` each time memory is short, between :meth:`open` and :meth:`close`.

    asyncio cannot wait for POLLPRI: the trigger is in an epoll set, whose descriptor is readable when it fires.
    """

    def __init__(self, on_pressure: Callable[[], None], trigger: Callable[[], int] = trigger) -> None:
        self._on_pressure = on_pressure
        self._trigger = trigger
        self._descriptor = -1
        self._epoll: select.epoll | None = None

    def open(self) -> None:
        """Begin, unless it is open already. Raises OSError."""
        if self._epoll is not None:
            return
        self._descriptor = self._trigger()
        self._epoll = select.epoll()
        self._epoll.register(self._descriptor, select.EPOLLPRI)
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._fired)

    def close(self) -> None:
        """End, unless it is closed already."""
        if self._epoll is None:
            return
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()
        os.close(self._descriptor)
        self._epoll, self._descriptor = None, -1

    def _fired(self) -> None:
        events = self._epoll.poll(0) if self._epoll is not None else []
        if any(event & select.EPOLLERR for _, event in events):
            self.close()  # the kernel has removed the trigger, whose descriptor would be readable for ever
        elif events:
            self._on_pressure()
