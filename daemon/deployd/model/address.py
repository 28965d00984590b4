"""Listening addresses of an app, as they are now."""

from __future__ import annotations

from dataclasses import dataclass

STOPPED = "the app is stopped"
NO_INSTANCE = "no instance has a socket"
NO_GENERATION = "no generation has an open socket"


@dataclass(frozen=True, slots=True)
class Address:
    """A listening address and the socket unit that has it."""

    address: str
    unit: str
    open: bool
    reason: str = ""
    """Why it is closed, or why clients cannot reach it although it is open."""
