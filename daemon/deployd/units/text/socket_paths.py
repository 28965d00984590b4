"""Paths of the UNIX sockets that deployd adds, below its runtime directory. In units ``%i`` stands for a number."""

from __future__ import annotations

import hashlib
from pathlib import Path

from deployd.model.scope import SYSTEM

LISTENERS = "/run/deployd/socket"
"""The directory of the UNIX sockets of generations; the address that clients know leads to one of them. Steered apps
have these, so no user has."""


def probe(app: str, number: int | str, runtime: Path = SYSTEM.runtime) -> str:
    """Return the path of the private socket on which an instance is probed."""
    return f"{runtime}/probe/{app}/{number}.sock"


def preview(app: str, runtime: Path = SYSTEM.runtime) -> str:
    """Return the path of the socket at which a preview is reached."""
    return f"{runtime}/preview/{app}.sock"


def listener(app: str, number: int | str, address: str) -> str:
    """Return the path at which the UNIX socket `number` listens for `address`.

    The name follows from the address, so that it is the same with the settings of any generation.
    """
    return f"{LISTENERS}/{app}/{number}-{_short(address)}.sock"


def link(app: str, address: str) -> str:
    """Return the link that `address` leads to: a symlink to the path of one generation's socket, which moves."""
    return f"{LISTENERS}/{app}/{_short(address)}.sock"


def _short(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:8]
