"""What crosses the bus: signals, method calls, replies, errors, and who is behind a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
"""Name, path and interface of the bus itself. It writes the sender of every message, so this name cannot be forged."""

ERROR = "org.freedesktop.DBus.Error."
NO_REPLY = ERROR + "NoReply"
LIMITS_EXCEEDED = ERROR + "LimitsExceeded"


class BusError(Exception):
    """An error reply. `name` is the D-Bus error name, `message` the text that came with it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{message} ({name})")
        self.name = name
        self.message = message


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal as it arrived, variants unwrapped."""

    sender: str
    path: str
    interface: str
    member: str
    body: list[Any]


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A method call on one of our objects, variants unwrapped."""

    sender: str
    path: str
    interface: str
    member: str
    signature: str
    body: list[Any]
    interactive: bool = False
    """Whether the caller may be asked for a password meanwhile (ALLOW_INTERACTIVE_AUTHORIZATION of its message)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user behind a connection, as the bus itself read them from the socket (SO_PEERCRED, SO_PEERGROUPS)."""

    uid: int
    groups: frozenset[int]
    """All groups of the process, the primary one included; empty where the bus does not know them."""


Reply = tuple[str, list[Any]]
Server = Callable[[MethodCall], Awaitable[Reply]]
Handler = Callable[[Signal], None]
