"""Listening addresses of an app, as they are now."""

from __future__ import annotations

from dataclasses import dataclass

STOPPED = "the app is stopped"
NO_INSTANCE = "no instance has a socket"
NO_GENERATION = "no generation has an open socket"


def is_near(host: str) -> bool:
    """True if the loopback device reaches this IP address, written as inet_ntop(3) does."""
    return host in {"0.0.0.0", "::", "::1"} or host.startswith("127.")  # noqa: S104


@dataclass(frozen=True, slots=True)
class Address:
    """A listening address and the socket unit that has it."""

    address: str
    unit: str
    open: bool
    reason: str = ""
    """Why it is closed, or why clients cannot reach it although it is open."""
