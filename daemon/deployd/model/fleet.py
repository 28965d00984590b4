"""What a driver of several hosts sends with a rollout, so that it may repeat itself and be overtaken."""

from __future__ import annotations

import re
from dataclasses import dataclass

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
LARGEST_TOKEN = 2**63 - 1
"""SQLite has no larger integers."""


@dataclass(frozen=True, slots=True)
class FleetRequest:
    """A rollout that is requested of each host of a fleet."""

    fleet: str
    """The ID of the rollout in all of the fleet. The same ID is the same rollout."""
    token: int
    """Grows with each rollout of the fleet, so that an older one never overtakes a newer one (a fencing token)."""


def problem(fleet: str, token: int) -> str:
    """Return what is wrong with the ID or the token of a request, and what is allowed; "" if nothing is."""
    if not ID.fullmatch(fleet):
        return (
            "the ID of a fleet rollout must have 1 to 128 letters, digits and . _ : / @ + -, with a letter or digit"
            " first"
        )
    if not 1 <= token <= LARGEST_TOKEN:
        return f"the token of a fleet rollout must be a number from 1 to {LARGEST_TOKEN}"
    return ""
