"""The probation of a generation: for some time after it went live, crashes and failing probes take it back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probation:
    """Stored in the history until it ends, or until another generation is live. Times as in Timestamp."""

    app: str
    generation: int
    origin: int | None
    """The generation that a failure returns to; None if a failure is only reported."""
    stays: str
    """Why a failure is only reported; "" if it returns to `origin`."""
    since: float
    """Crashes of `origin` count from here, for comparison: CLOCK_MONOTONIC seconds of the boot `boot`."""
    began: float
    """When it began, on the same clock."""
    until: float
    """When it ends, on the same clock."""
    boot: str
    ends: float
    """When it ends, in seconds since the epoch: for users, and for the next boot of the machine."""
    failed: str = ""
    """Why the generation failed although it stayed live; "" while the probation lasts."""
