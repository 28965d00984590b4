"""How many instances are ready, of how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.words import number_of


def ready_of(status: Mapping[str, Any]) -> str:
    """Return ``3 of 4``, the instances that are ready; ``4 of 4 +1`` if there is one more than is desired."""
    counted, more = _counted(status)
    return f"{counted} +{more}" if more else counted


def ready_words(status: Mapping[str, Any]) -> str:
    """Return ``3 of 4 ready``, or ``4 of 4 ready and 1 more``."""
    counted, more = _counted(status)
    return f"{counted} ready and {more} more" if more else f"{counted} ready"


def _counted(status: Mapping[str, Any]) -> tuple[str, int]:
    ready, desired = number_of(status, "ready"), number_of(status, "desired")
    if not desired:  # unknown, as when the history is lost, or none
        return str(ready), 0
    return f"{min(ready, desired)} of {desired}", max(ready - desired, 0)
