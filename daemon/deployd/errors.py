"""The error tree: one table of code, D-Bus name and exit status.

Imports nothing of deployd. Raise the most specific class with one clear sentence;
the daemon turns it into a D-Bus error reply, the command turns that into an exit status.

    DeploydError
    ├── InvalidFile          an app file that breaks the contract
    ├── InvalidRequest       an argument that makes no sense
    ├── NoSuchApp
    ├── Busy                 another rollout of this app is running
    ├── Refused              valid, but not possible now
    │   └── NoAnswer         a file system of the app hangs
    ├── AccessDenied         polkit or D-Bus said no
    ├── StateError           the state directory cannot be read or written
    │   └── Locked           by another process, for now
    ├── SystemdError         systemd refused or did not answer
    ├── SteeringError        the kernel refused what steering needs
    ├── RolloutFailed        the rollout ended, but not in the new generation
    └── Unreachable          the daemon or the bus does not answer
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


PREFIX = "org.deployd1.Error."


class DeploydError(Exception):
    """Base of all errors that a user may see; ``str()`` is one clear sentence."""

    name = "Failed"
    exit_status = ExitStatus.FAILED

    def __init__(self, sentence: str = "", lines: Iterable[str] = ()) -> None:
        super().__init__(sentence)
        self.lines = tuple(lines)
        """What a process wrote to the journal before it failed: not for everyone."""

    @property
    def dbus_name(self) -> str:
        return PREFIX + self.name


class InvalidFile(DeploydError):
    """An app file is not valid: says which file, which key, what is allowed."""

    name = "InvalidFile"
    exit_status = ExitStatus.REFUSED


class InvalidRequest(DeploydError):
    """A request's argument is impossible."""

    name = "InvalidRequest"
    exit_status = ExitStatus.USAGE


class NoSuchApp(DeploydError):
    """Neither an app file nor a history of that name."""

    name = "NoSuchApp"
    exit_status = ExitStatus.NO_SUCH_APP


class Busy(DeploydError):
    """Another rollout of the app is under way."""

    name = "Busy"
    exit_status = ExitStatus.REFUSED


class Refused(DeploydError):
    """The request is valid but must not be carried out as things are."""

    name = "Refused"
    exit_status = ExitStatus.REFUSED


class NoAnswer(Refused):
    """A file system that the app's files lie on has not answered in time."""


class AccessDenied(DeploydError):
    """The caller may look but not touch."""

    name = "AccessDenied"
    exit_status = ExitStatus.REFUSED


class StateError(DeploydError):
    """The state directory or the unit directory cannot be read or written."""

    name = "State"


class Locked(StateError):
    """Another process has the history locked, for now."""


class SystemdError(DeploydError):
    """systemd refused a call or did not answer before its deadline."""

    name = "Systemd"


class SteeringError(DeploydError):
    """The kernel refused what steering connections needs (eBPF, sock_diag, another process's sockets)."""

    name = "Steering"


class RolloutFailed(DeploydError):
    """The rollout ended in rolled-back, failed, aborted or superseded."""

    name = "RolloutFailed"


class Unreachable(DeploydError):
    """The system bus or the daemon does not answer."""

    name = "Unreachable"
    exit_status = ExitStatus.UNREACHABLE


ALL: tuple[type[DeploydError], ...] = (DeploydError, *DeploydError.__subclasses__())
BY_DBUS_NAME = {PREFIX + cls.name: cls for cls in ALL}
"""D-Bus error name to class, for the client side."""


@contextmanager
def steering_errors(what: str) -> Iterator[None]:
    """Raise SteeringError, "cannot WHAT: REASON", in place of an OSError of the kernel."""
    try:
        yield
    except OSError as error:
        raise SteeringError(f"cannot {what}: {error.strerror or error}") from error
