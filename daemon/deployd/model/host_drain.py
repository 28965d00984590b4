"""Drains of this host: while there is one, load balancers send new clients to other hosts."""

from __future__ import annotations

from dataclasses import dataclass

HOST = ""
"""Stands for the host as a whole where the name of an app is expected."""


@dataclass(frozen=True, slots=True)
class HostDrain:
    """The host, or one app on it, is drained until `deployd undrain`, also across reboots."""

    app: str
    """HOST if the host is drained."""
    since: float
    """Seconds since the epoch, UTC."""
    reason: str = ""
