"""Listening addresses of an app, as they are now."""

from __future__ import annotations

from dataclasses import dataclass

STOPPED = "the app is stopped"
NO_INSTANCE = "no instance has a socket"
NO_GENERATION = "no generation has an open socket"

LONGEST_PATH = 107
"""Bytes of a UNIX address: sun_path has 108, one of them for the NUL (unix(7))."""

_ASIDE = ".deployd"


def is_near(host: str) -> bool:
    """True if the loopback device reaches this IP address, written as inet_ntop(3) does."""
    return host in {"0.0.0.0", "::", "::1"} or host.startswith("127.")  # noqa: S104


def set_aside(address: str) -> str:
    """Return the path at which an app's shared socket for `address` can be reached while its routing changes.

    It is in the same directory: a socket cannot be renamed to another file system, and the permissions of the directory
    apply to it as well.
    """
    directory, _, name = address.rpartition("/")
    return f"{directory}/.{name}{_ASIDE}"


def address_of(path: str) -> str:
    """Return the address for which a shared socket listens at `path`: the opposite of :func:`set_aside`."""
    directory, _, name = path.rpartition("/")
    found = name.startswith(".") and name.endswith(_ASIDE)
    return f"{directory}/{name[1:].removesuffix(_ASIDE)}" if found else path


@dataclass(frozen=True, slots=True)
class Address:
    """A listening address and the socket unit that has it."""

    address: str
    unit: str
    open: bool
    reason: str = ""
    """Why it is closed, or why clients cannot reach it although it is open."""
