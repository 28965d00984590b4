"""An instance that hangs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hang:
    """An instance answers no request, and does not read what clients send."""

    in_flight: int
    """Requests that wait for an answer: connections on which the client has sent something since the last answer."""
    since: float
    """CLOCK_MONOTONIC seconds: the last answer, or the first request after it."""

    def words(self, now: float) -> str:
        """Return the end of a sentence about the instance at the time `now`."""
        which = "its request" if self.in_flight == 1 else f"any of its {self.in_flight} requests"
        return f"has not answered {which} for {max(0.0, now - self.since):.0f} s, and does not read what clients send"
