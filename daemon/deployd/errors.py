"""The error tree: one table of code, D-Bus name and exit status.

This module imports nothing of deployd. Raise the most specific class with one clear sentence; the daemon turns it into
a D-Bus error reply, and the command turns that into an exit status.

    DeploydError
    ├── InvalidFile          an invalid app file
    ├── InvalidRequest       an invalid argument
    ├── NoSuchApp            no app of that name
    ├── Busy                 another rollout of this app is in progress
    ├── Refused              valid, but not possible now
    │   └── NoAnswer         a file system of the app does not respond
    ├── AccessDenied         polkit or D-Bus denied the request
    ├── StateError           the state directory cannot be read or written
    │   └── Locked           another process has locked the history
    ├── SystemdError         systemd refused a call or did not reply
    ├── SteeringError        the kernel refused what steering needs
    ├── RolloutFailed        the rollout ended without its new generation serving
    ├── NothingRestarted     the rollout succeeded, and every process is one from before it
    └── Unreachable          the daemon or the bus does not reply
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of the command (a contract)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NO_SUCH_APP = 4
    UNREACHABLE = 5
    NOTHING_RESTARTED = 6


PREFIX = "org.deployd1.Error."


class DeploydError(Exception):
    """Base class of all errors shown to users; ``str()`` returns one clear sentence."""

    name = "Failed"
    exit_status = ExitStatus.FAILED

    def __init__(self, sentence: str = "", lines: Iterable[str] = ()) -> None:
        super().__init__(sentence)
        self.lines = tuple(lines)
        """What a process wrote to the journal before it failed; only shown to callers that may read the journal."""

    @property
    def dbus_name(self) -> str:
        return PREFIX + self.name


class InvalidFile(DeploydError):
    """An app file is invalid. The sentence names the file, the key and what is allowed."""

    name = "InvalidFile"
    exit_status = ExitStatus.REFUSED


class InvalidRequest(DeploydError):
    """An argument of a request is invalid."""

    name = "InvalidRequest"
    exit_status = ExitStatus.USAGE


class NoSuchApp(DeploydError):
    """There is neither an app file nor a history of that name."""

    name = "NoSuchApp"
    exit_status = ExitStatus.NO_SUCH_APP


class Busy(DeploydError):
    """Another rollout of the app is in progress."""

    name = "Busy"
    exit_status = ExitStatus.REFUSED


class Refused(DeploydError):
    """The request is valid but not possible in the current state."""

    name = "Refused"
    exit_status = ExitStatus.REFUSED


class NoAnswer(Refused):
    """A file system with files of the app has not responded in time."""


class AccessDenied(DeploydError):
    """The caller may query, but not make this change."""

    name = "AccessDenied"
    exit_status = ExitStatus.REFUSED


class StateError(DeploydError):
    """The state directory or the unit directory cannot be read or written."""

    name = "State"


class Locked(StateError):
    """Another process has locked the history; try again later."""


class SystemdError(DeploydError):
    """systemd refused a call or did not reply before the deadline."""

    name = "Systemd"


class SteeringError(DeploydError):
    """The kernel refused an operation that steering needs (eBPF, sock_diag, sockets of another process)."""

    name = "Steering"


class RolloutFailed(DeploydError):
    """The rollout ended in rolled-back, failed, aborted or superseded."""

    name = "RolloutFailed"


class NothingRestarted(DeploydError):
    """The rollout has adopted all instances, so that each still runs what it ran before."""

    name = "NothingRestarted"
    exit_status = ExitStatus.NOTHING_RESTARTED


class Unreachable(DeploydError):
    """The system bus or the daemon does not reply."""

    name = "Unreachable"
    exit_status = ExitStatus.UNREACHABLE


ALL: tuple[type[DeploydError], ...] = (DeploydError, *DeploydError.__subclasses__())
BY_DBUS_NAME = {PREFIX + cls.name: cls for cls in ALL}
"""Maps D-Bus error names to classes, for the client side."""


@contextmanager
def steering_errors(what: str) -> Iterator[None]:
    """Turn an OSError into a SteeringError, "cannot WHAT: REASON"."""
    try:
        yield
    except OSError as error:
        raise SteeringError(f"cannot {what}: {error.strerror or error}") from error
