"""How new connections are steered: groups of instances with a weight each, and what the kernel counts of an instance.

Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

RANKS = 64
"""Ranks are 0 to 63."""

HUNG_AFTER = 1.0
"""Seconds without an answer after which an instance may count as hung."""

HUNG_TYPICAL = 16
"""How many times its typical time is added to that."""


@dataclass(frozen=True, slots=True)
class Group:
    """Instances of which the least loaded gets the next connection of the group."""

    members: tuple[tuple[int, int], ...]
    """Number and rank of each instance. Of those that are equally busy the lowest rank comes first."""
    weight: float
    """The group's part of all new connections, relative to that of other groups."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the kernel counts of one instance."""

    in_flight: int = 0
    """Connections on which the client has sent something, and the instance has not answered yet."""
    open: int = 0
    """Open connections on which the client has sent something."""
    pending: int = 0
    """Connections that the instance was chosen for, and on which nothing has arrived yet."""
    progress: float = 0.0
    """When the instance last answered, or when it was last idle and got a request."""
    typical: float = 0.0
    """Running median of the seconds between two answers while something was in flight."""
    chosen_at: float = 0.0
    """When it last got a connection."""
    chosen: int = 0
    """How many connections it has got since the maps were created; one that migrated counts for both instances."""

    def hung(self, now: float) -> bool:
        """True if it has not answered for so long that it gets no connection as long as another member is not hung."""
        return self.in_flight > 0 and now - self.progress > HUNG_AFTER + HUNG_TYPICAL * self.typical
