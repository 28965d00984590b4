"""Notices when a file system is mounted or unmounted (proc_pid_mountinfo(5))."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")


class Mounts:
    """Calls `changed` after each change of the mounts that this process sees, between :meth:`open` and :meth:`close`.

    The sandbox of deployd.service has mounts of its own, but those of the host propagate to them. The kernel reports a
    change as POLLPRI, for which asyncio cannot wait: the file is in an epoll set, which is readable then.
    """

    def __init__(self, changed: Callable[[], None], path: Path = MOUNTS) -> None:
        self._changed = changed
        self._path = path
        self._descriptor = -1
        self._epoll: select.epoll | None = None

    def open(self) -> None:
        """Begin, unless it is open already. Raises OSError."""
        if self._epoll is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._epoll = select.epoll()
            self._epoll.register(self._descriptor, select.EPOLLPRI)
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._fired)

    def close(self) -> None:
        """End, unless it is closed already."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            os.close(self._descriptor)
            self._epoll, self._descriptor = None, -1

    def _fired(self) -> None:
        if self._epoll is not None:
            self._epoll.poll(0)  # returns nothing: asyncio's own poll has taken the event, which is reported only once
            self._changed()
