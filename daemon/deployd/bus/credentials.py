"""Caches the credentials of connections: the bus never gives a unique name to another connection."""

from __future__ import annotations

from typing import Any

from deployd.bus.messages import Credentials

MOST_KNOWN = 1024
"""Connections whose credentials are cached; the oldest entry is dropped first."""


class KnownCredentials:
    """Maps unique names to credentials."""

    def __init__(self) -> None:
        self._known: dict[str, Credentials] = {}

    def get(self, sender: str) -> Credentials | None:
        return self._known.get(sender)

    def uid(self, sender: str) -> int | None:
        """Return the user ID of a connection, None if it is not known."""
        known = self._known.get(sender)
        return None if known is None else known.uid

    def add(self, sender: str, answer: dict[str, Any]) -> Credentials:
        """Keep and return what GetConnectionCredentials answered."""
        if len(self._known) >= MOST_KNOWN:
            self._known.pop(next(iter(self._known)))
        known = Credentials(answer["UnixUserID"], frozenset(answer.get("UnixGroupIDs", ())))
        self._known[sender] = known
        return known
