"""Available memory, the memory of a unit, and notifications of memory pressure.

Available is MemAvailable of proc_meminfo(5). A unit uses memory.current of its cgroup; where the memory controller is
off, the resident memory of its processes is added up, which counts shared pages more than once. Pressure is reported by
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
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


async def held(systemd: Systemd, unit: str) -> int | None:
    """Return the bytes that a running unit uses, or None if they are unknown."""
    try:
        group = (await systemd.read(unit, SERVICE, ("ControlGroup",)))["ControlGroup"]
    except SystemdError:
        return None
    return of_cgroup(str(group))


def of_cgroup(group: str, roots: tuple[Path, ...] = CGROUPS, proc: Path = PROC) -> int | None:
    """Return the bytes that a cgroup uses, from its controller or from its processes."""
    if not group.strip("/"):
        return None
    for root in roots:
        directory = root / group.lstrip("/")
        try:
            return int((directory / "memory.current").read_text(encoding="ascii"))
        except (OSError, ValueError):
            pass
        try:
            lists = [path.read_text(encoding="ascii") for path in directory.rglob("cgroup.procs")]
        except OSError:
            continue
        pids = [int(pid) for text in lists for pid in text.split()]
        if pids:
            return sum(_resident(proc, pid) for pid in pids)
    return None


def _resident(proc: Path, pid: int) -> int:
    try:
        return int((proc / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
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
