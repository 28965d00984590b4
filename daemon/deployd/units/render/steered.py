"""Paths of the UNIX sockets of a steered app, and whether the installed units are those of a steered app."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable

from deployd.model import unit_name
from deployd.model.app import App, ListenKind

DIRECTORY = "/run/deployd/socket"
"""The directory of the UNIX sockets of generations; the address that clients know leads to one of them."""


def has_unix(app: App) -> bool:
    """True if `app` listens on UNIX addresses."""
    return any(item.kind is ListenKind.UNIX for item in app.listen)


def has_tcp(app: App) -> bool:
    """True if `app` listens on TCP addresses."""
    return any(item.kind is ListenKind.TCP for item in app.listen)


def marker(number: int) -> str:
    """Return the name of the file in a generation's directory that says which UNIX socket its instances accept from.

    The socket unit has a condition on it: a socket opens only if a pinned instance accepts from it.
    """
    return f"unix@{number}"


def marked(files: Iterable[str]) -> int | None:
    """Return the UNIX socket that the marker among a generation's files names, or None if there is no marker."""
    found = (re.fullmatch(r"unix@([1-9][0-9]*)", name) for name in files)
    return next((int(match[1]) for match in found if match), None)


def path(app_name: str, number: int | str, address: str) -> str:
    """Return the path at which the UNIX socket `number` listens for `address`.

    The name follows from the address, so that it is the same with the settings of any generation.
    """
    return f"{DIRECTORY}/{app_name}/{number}-{_short(address)}.sock"


def link(app_name: str, address: str) -> str:
    """Return the link that `address` leads to: a symlink to the path of one generation's socket, which moves."""
    return f"{DIRECTORY}/{app_name}/{_short(address)}.sock"


def _short(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:8]


def is_steered(installed: Collection[str], app_name: str) -> bool | None:
    """True if the installed units are those of a steered app, None if none are installed."""
    if unit_name.instance_socket_starter(app_name, "") in installed:
        return True
    shared = {unit_name.shared_socket(app_name), unit_name.template(app_name)}
    return None if shared.isdisjoint(installed) else False
