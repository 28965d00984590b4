"""Whether the open connections of an instance that is to be frozen can be closed without harm to a request. Pure.

What closes a connection between two requests is what every server does after its keep-alive timeout: clients open
another one (RFC 9112, section 9.3.1). deployd does not see requests, only when data was sent in which direction. An
instance that sent last has responded; if its client sent last, it owes a response.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from deployd.model.traffic import Traffic

QUIET = 5.0
"""Seconds without data in either direction after which a connection is idle."""

UNCLEAR = 30.0
"""The same if the kernel's clock, which ticks every 1 to 10 ms, is too coarse to say who sent last."""


class Ending(StrEnum):
    """What becomes of the connections."""

    CLOSE = "close"
    WAIT = "wait"
    """They may be idle soon."""
    IN_USE = "in use"


def ending(connections: Collection[Traffic]) -> Ending:
    """Return what to do about the connections of an instance: close them only if none is in use."""
    found = {_one(item) for item in connections}
    return next((item for item in (Ending.IN_USE, Ending.WAIT) if item in found), Ending.CLOSE)


def _one(item: Traffic) -> Ending:
    quiet = min(item.sent, item.received)
    if item.queued or item.received < item.sent or quiet < QUIET:
        return Ending.IN_USE
    return Ending.CLOSE if item.sent < item.received or quiet >= UNCLEAR else Ending.WAIT
