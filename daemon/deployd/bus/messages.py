"""Signals, method calls, replies, errors, and the credentials of a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
"""Name, path and interface of the bus itself. The bus sets the sender of every message, so it cannot be forged."""

ERROR = "org.freedesktop.DBus.Error."
NO_REPLY = ERROR + "NoReply"
LIMITS_EXCEEDED = ERROR + "LimitsExceeded"


class BusError(Exception):
    """An error reply. `name` is the D-Bus error name, `message` its text."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{message} ({name})")
        self.name = name
        self.message = message


class Signal(NamedTuple):
    """A signal, variants unwrapped."""

    sender: str
    path: str
    interface: str
    member: str
    body: list[Any]


class MethodCall(NamedTuple):
    """A method call on an object of this process, variants unwrapped."""

    sender: str
    path: str
    interface: str
    member: str
    signature: str
    body: list[Any]
    interactive: bool = False
    """True if the caller may be asked to authenticate (flag ALLOW_INTERACTIVE_AUTHORIZATION of its message)."""


class Credentials(NamedTuple):
    """User and groups of a connection, as the bus read them from its socket (SO_PEERCRED, SO_PEERGROUPS)."""

    uid: int
    groups: frozenset[int]
    """All groups of the process, including the primary one; empty if the bus does not know them."""


Reply = tuple[str, list[Any]]
Server = Callable[[MethodCall], Awaitable[Reply]]
Handler = Callable[[Signal], None]
