"""When data was last sent on a connection, as the kernel knows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """The last data on a connection, in seconds ago."""

    sent: float
    """By the instance."""
    received: float
    queued: bool = False
    """True if data waits to be read by the instance, or to be acknowledged by its client."""
