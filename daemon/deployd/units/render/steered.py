"""The units of a steered app's listening sockets: NAME@N.socket of each instance, and what a connection to it starts.

No app's name has a colon, so NAME:start@N.service is nobody else's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

DIRECTORY = "/run/deployd/socket"
"""Where the UNIX sockets of single instances are; the address that clients know leads to one of them."""


def template(app_name: str) -> str:
    """The template unit of the sockets."""
    return f"{app_name}@.socket"


def starter_template(app_name: str) -> str:
    """The template unit of what a first connection starts."""
    return f"{app_name}:start@.service"


def socket(app_name: str, number: int | str) -> str:
    """The socket unit of one instance; ``%i`` stands for its number in units."""
    return f"{app_name}@{number}.socket"


def starter(app_name: str, number: int | str) -> str:
    """What the first connection to a socket starts; as above.

    Not the instance itself: while that is being replaced in place, a connection that waits would start it again. Not
    the umbrella: systemd refuses to open a socket while its service is active (EBUSY), and it is up when an instance is
    added.
    """
    return f"{app_name}:start@{number}.service"


def path(app_name: str, number: int | str, address: str) -> str:
    """Where instance `number` listens instead of `address`, a UNIX socket; ``%i`` as above.

    The name follows from the address, so that one says what the other is, whichever generation's settings it is of.
    """
    return f"{DIRECTORY}/{app_name}/{number}-{_short(address)}.sock"


def link(app_name: str, address: str) -> str:
    """What `address` is a symlink to: a symlink to the path of one instance, which moves."""
    return f"{DIRECTORY}/{app_name}/{_short(address)}.sock"


def _short(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:8]


def is_steered(installed: Collection[str], app_name: str) -> bool | None:
    """How the units that are installed listen; None if none are."""
    if template(app_name) in installed:
        return True
    return False if f"{app_name}.socket" in installed or f"{app_name}@.service" in installed else None
