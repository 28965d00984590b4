"""Notices that a UNIX address is removed (inotify(7)): that closes no socket, and systemd does not see it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator

log = logging.getLogger(__name__)

# sys/inotify.h
IN_MOVED_FROM, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF = 0x40, 0x200, 0x400, 0x800
IN_ONLYDIR, IN_Q_OVERFLOW = 0x01000000, 0x4000
_GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_Q_OVERFLOW
_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name that follows

_libc = ctypes.CDLL(None, use_errno=True)


class PathWatch:
    """Calls `removed` when something at one of the paths is removed or moved away."""

    def __init__(self, removed: Callable[[], None]) -> None:
        self._removed = removed
        self._paths: frozenset[str] = frozenset()
        self._names: dict[int, set[str]] = {}
        self._descriptor: int | None = None

    def follow(self, paths: Iterable[str]) -> None:
        """Watch these paths from now on, and no others. Cheap if they are the same."""
        wanted = frozenset(paths)
        if wanted == self._paths:
            return
        self.close()
        if not wanted:
            return
        self._paths = wanted
        try:
            self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            log.warning("%s cannot be watched: %s; see max_user_instances in inotify(7)", min(wanted), error)
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        for path in wanted:
            directory, _, name = path.rpartition("/")
            mask = IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
            try:
                watch = _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(directory or "/"), mask))
            except OSError as error:
                log.debug("%s cannot be watched: %s", directory, error)
            else:  # the same number for the same directory
                self._names.setdefault(watch, set()).add(name)

    def close(self) -> None:
        """Watch nothing."""
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
        self._descriptor, self._names, self._paths = None, {}, frozenset()

    def _read(self) -> None:
        if self._descriptor is None:
            return
        events = list(_events(os.read(self._descriptor, 1 << 16)))
        if any(mask & _GONE for _, mask, _ in events):
            self.close()  # the next follow() watches the directory that is there then
            self._removed()
        elif any(name in self._names.get(watch, ()) for watch, _, name in events):
            self._removed()


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    at = 0
    while at < len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        yield watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))
        at += length


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
