"""Paths of the UNIX sockets of a steered app, and whether the installed units are those of a steered app."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from deployd.model import unit_name

DIRECTORY = "/run/deployd/socket"
"""Where the UNIX sockets of single instances are; the address that clients know leads to one of them."""


def path(app_name: str, number: int | str, address: str) -> str:
    """Where instance `number` listens instead of `address`, a UNIX socket; ``%i`` stands for its number in units.

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
    if unit_name.instance_socket(app_name, "") in installed:
        return True
    shared = {unit_name.shared_socket(app_name), unit_name.template(app_name)}
    return None if shared.isdisjoint(installed) else False
