"""Files that a caller has open, duplicated from its process by pidfd_getfd(2).

deployd accepts no descriptors from the bus, so that no caller can fill its table of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from deployd.apps.caller import Caller
from deployd.bus import DBUS, Bus, BusError
from deployd.errors import AccessDenied, InvalidRequest, SteeringError
from deployd.reuseport import syscalls

TERMINALS = "/dev/pts/"


class CallerFiles:
    """Duplicates the files of callers on `bus`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @contextlib.asynccontextmanager
    async def opened(self, caller: Caller, numbers: Sequence[int]) -> AsyncIterator[list[int]]:
        """Have copies of these descriptors of the caller's process within the context.

        Raises AccessDenied if the process is gone or belongs to another user, and InvalidRequest for a descriptor that
        it does not have.
        """
        copies: list[int] = []
        pidfd = await self._process(caller)
        try:
            for number in numbers:
                try:
                    copies.append(syscalls.pidfd_getfd(pidfd, number))
                except (OSError, SteeringError) as error:
                    raise InvalidRequest(f"descriptor {number} of the caller cannot be used: {error}") from None
            yield copies
        finally:
            for descriptor in (pidfd, *copies):
                os.close(descriptor)

    async def _process(self, caller: Caller) -> int:
        """Return a pidfd of the process that has opened the caller's connection."""
        pid = await self._pid(caller)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            raise _gone(caller) from None
        # The process may have ended meanwhile, and another have got its number; not if the bus still has it.
        try:
            same = await self._pid(caller) == pid and _owner(pid) == caller.uid
        except (OSError, AccessDenied):
            same = False
        if not same:
            os.close(pidfd)
            raise _gone(caller)
        return pidfd

    async def _pid(self, caller: Caller) -> int:
        try:
            (pid,) = await self._bus.call(*DBUS, "GetConnectionUnixProcessID", "s", [caller.sender])
        except BusError:
            raise _gone(caller) from None
        return int(pid)


def _owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def terminal_of(descriptor: int) -> str:
    """Return the path of a pseudo-terminal. Raises InvalidRequest for any other file."""
    try:
        path = os.ttyname(descriptor)
    except OSError:
        path = ""
    if not path.startswith(TERMINALS):
        raise InvalidRequest("the terminal of the caller is not one of this machine; run the command without one")
    return path


def _gone(caller: Caller) -> AccessDenied:
    return AccessDenied(f"the process of user {caller.uid} that called is not there any more")
