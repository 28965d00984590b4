"""How much memory there is, how much a unit holds, and the kernel's word that it is running short.

Facts this stands on: MemAvailable of proc_meminfo(5); memory.current of a cgroup, where the memory controller is on (it
may be off, and then what the processes have resident is summed, shared pages each time); pressure stall information
(accounting/psi.rst of the kernel): a trigger is written once into /proc/pressure/memory, and each time it fires its
descriptor has POLLPRI. Before Linux 6.5 or so a trigger takes CAP_SYS_RESOURCE.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path

from deployd.errors import SystemdError
from deployd.systemd.manager import SERVICE, Systemd

TRIGGER = "some 150000 2000000"
"""Some task waited for memory 150 ms of 2 s. Without privileges the window has to be a multiple of 2 s."""
PRESSURE = Path("/proc/pressure/memory")
MEMINFO = Path("/proc/meminfo")
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
"""Where cgroup v2 is, alone or beside v1."""
PROC = Path("/proc")


def available(meminfo: Path = MEMINFO) -> int | None:
    """Bytes that may be had without swapping; None where the kernel does not tell."""
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


async def held(systemd: Systemd, unit: str) -> int | None:
    """Bytes that a running unit holds; None if that is not to be had."""
    try:
        group = (await systemd.read(unit, SERVICE, ("ControlGroup",)))["ControlGroup"]
    except SystemdError:
        return None
    return of_cgroup(str(group))


def of_cgroup(group: str, roots: tuple[Path, ...] = CGROUPS, proc: Path = PROC) -> int | None:
    """Bytes that a cgroup holds, by its controller or by its processes."""
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
        return 0  # it has ended


def trigger(path: Path = PRESSURE) -> int:
    """A descriptor that has POLLPRI whenever memory is short. Raises OSError where that cannot be had."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, TRIGGER.encode() + b"\0")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Pressure:
    """`told` is called each time the kernel says that memory is short, from :meth:`open` to :meth:`close`.

    asyncio waits for no POLLPRI: the trigger is in an epoll set of its own, which is readable when it fires.
    """

    def __init__(self, told: Callable[[], None], trigger: Callable[[], int] = trigger) -> None:
        self._told = told
        self._trigger = trigger
        self._descriptor = -1
        self._epoll: select.epoll | None = None

    def open(self) -> None:
        """Begin; nothing happens if that is so. Raises OSError."""
        if self._epoll is not None:
            return
        self._descriptor = self._trigger()
        self._epoll = select.epoll()
        self._epoll.register(self._descriptor, select.EPOLLPRI)
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._fired)

    def close(self) -> None:
        """End; nothing happens if that is so."""
        if self._epoll is None:
            return
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()
        os.close(self._descriptor)
        self._epoll, self._descriptor = None, -1

    def _fired(self) -> None:
        events = self._epoll.poll(0) if self._epoll is not None else []
        if any(event & select.EPOLLERR for _, event in events):
            self.close()  # the kernel took the trigger back: it would be readable for ever
        elif events:
            self._told()
