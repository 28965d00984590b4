"""When the clients of one instance have come back, so that those of the next one may be sent away. Pure.

Clients whose connections are closed open others, at once or after a while; WebSocket clients do it all together. If
instances are stopped one after another without regard to that, their waves add up. A wave is absorbed when most of the
clients are back, or no more come, while new connections are about as frequent as before and none waits to be accepted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from deployd.plan.routing import Candidate, Policy

FEW = 50
"""Connections that may be closed within BRIEF in any case: no server has trouble with so many new ones."""

BRIEF = 1.0
"""Seconds. As many connections as are usual in this time are no wave either: they are those of short requests."""

WINDOW = 0.5
"""Seconds over which the rate of new connections is compared with the usual one."""

QUIET = 1.5
"""Seconds without more than the usual connections after which the clients that are missing are not waited for: browsers
reconnect when they need to."""

MOST = 0.8
"""The part of the clients that has to be back."""

REST = 0.1
"""The part of a wave that makes no difference."""


@dataclass(frozen=True, slots=True)
class Reading:
    """New connections of an app so far."""

    at: float
    """CLOCK_MONOTONIC seconds."""
    counts: Mapping[int, int]
    """The connections that each instance has got since its socket was opened."""
    queued: int = 0
    """Connections that wait to be accepted."""
    left: int = 0
    """Connections of the wave that have not ended."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Connections that are closed at about the same time."""

    size: int
    usual: float
    """New connections per second before."""


def rate(before: Reading, after: Reading) -> float:
    """Return the new connections per second between two readings."""
    return arrived(before, after) / (after.at - before.at) if after.at > before.at else 0.0


def arrived(before: Reading, after: Reading) -> int:
    """Return the new connections between two readings. A count that has decreased began again with a new socket."""
    grown = ((count, before.counts.get(number, 0)) for number, count in after.counts.items())
    return sum(count - first if count >= first else count for count, first in grown)


def is_wave(wave: Wave) -> bool:
    """True if so many connections should not be closed together with others."""
    return wave.size > max(FEW, wave.usual * BRIEF)


def absorbed(wave: Wave, readings: Sequence[Reading]) -> bool:
    """True if a wave is over. `readings` are in order, the first one from before the wave."""
    first, last = readings[0], readings[-1]
    elapsed = last.at - first.at
    if last.left > wave.size * REST or last.queued > first.queued or not _is_calm(wave, readings, WINDOW):
        return False
    back = arrived(first, last) - wave.usual * elapsed
    return back >= wave.size * MOST or _is_calm(wave, readings, QUIET)


def _is_calm(wave: Wave, readings: Sequence[Reading], seconds: float) -> bool:
    """True if no more than the usual connections have come for so many seconds."""
    last = readings[-1]
    before = [item for item in readings if item.at <= last.at - seconds]
    if not before:
        return False
    span = last.at - before[-1].at
    return arrived(before[-1], last) <= 2 * wave.usual * span + wave.size * REST


def ahead(candidates: Collection[Candidate], policy: Policy) -> list[Candidate]:
    """Return the candidates that get new connections during a wave: those of the first generation alone.

    The newest come first only among equally busy instances, so a client could come back to an idle one that is to stop
    soon, and be sent away again. Requested shares are left alone, and so is a rollback: it has rules of its own.
    """
    found = list(candidates)
    if policy.asked or policy.shunned or not found:
        return found
    there = {item.generation for item in found}
    first = policy.prefer if policy.prefer in there else max(there, key=lambda generation: generation or 0)
    return [item for item in found if item.generation == first]
