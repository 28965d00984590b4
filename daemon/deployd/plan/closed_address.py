"""Crashes that are no fault of a generation, because an address of the app was closed. Pure.

An instance that is started meanwhile is not passed its socket, and most servers crash then, perhaps after a long boot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ClosedAddress:
    """What an app has run while an address was closed."""

    closed: bool = False
    lately: bool = False
    """An address is closed, or was when the app was last observed: it may have been opened a moment ago."""
    invocations: frozenset[str] = frozenset()
    """The last invocations that ran then."""

    def observed(self, invocations: Iterable[str], *, closed: bool) -> ClosedAddress:
        """Return what is known after an observation: these invocations run, and an address is closed or none is."""
        if closed or self.closed:
            return ClosedAddress(closed, lately=True, invocations=frozenset(invocations))
        return replace(self, lately=False)

    def excuses(self, invocation: str) -> bool:
        """True if the crash of an invocation, noticed now, says nothing about its generation."""
        return self.lately or invocation in self.invocations
