"""Which instances may stand by, and which must go now. Pure; who freezes and stops them is in control.

What is frozen keeps its memory, and nothing else. So it may be kept for a time, as long as all that stands by stays
within its share, and until memory runs short: then all of it goes at once, for it is what is needed least.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deployd.model.pace import Memory

NEVER = 2**64 - 1
"""USEC_INFINITY: a time-out that is not set."""


@dataclass(frozen=True, slots=True)
class Resting:
    """An instance that stands by. Times are CLOCK_MONOTONIC seconds."""

    number: int
    generation: int
    since: float
    memory: int | None = None
    """Bytes that it holds, if that is known."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """One that has to go, and why."""

    number: int
    generation: int
    reason: str


def expired(item: Resting, lasts: float, now: float) -> bool:
    """Whether its time is over."""
    return item.since + lasts <= now


def leaving(
    resting: Iterable[Resting], lasts: float, now: float, *, available: int | None, limit: Memory, short: bool
) -> tuple[Leaving, ...]:
    """Who has to go, in order. `available` is MemAvailable in bytes, `short`: the kernel says so."""
    items = sorted(resting, key=lambda item: item.number)
    if short:
        return tuple(Leaving(item.number, item.generation, "memory is running short") for item in items)
    going = [Leaving(item.number, item.generation, _over(lasts)) for item in items if expired(item, lasts, now)]
    left = [item for item in items if not expired(item, lasts, now)]
    if available is None:
        return tuple(going)
    allowed = limit.of(available)
    # The last first: those that are left are the ones that a way back thaws first.
    while left and _sum(left) > allowed:
        item = left.pop()
        reason = f"what stands by holds more than its {_share(limit, allowed)} of memory"
        going.append(Leaving(item.number, item.generation, reason))
    return tuple(going)


def refusal(
    memory: int | None, others: Iterable[Resting], *, available: int | None, limit: Memory, watchdog: int
) -> str:
    """Why an instance that holds `memory` is stopped instead of frozen; "" if it may stand by beside `others`.

    `watchdog` is WatchdogUSec of its unit: systemd would end it for saying nothing.
    """
    if watchdog not in (0, NEVER):
        return "its watchdog (WatchdogSec=) would end it in standby"
    if memory is None:
        return "nobody knows how much memory it holds"
    if available is None:
        return "the kernel does not tell how much memory is available"
    allowed = limit.of(available)
    total = memory + _sum(others)
    if total > allowed:
        return f"{_mebibytes(total)} in standby would be more than its {_share(limit, allowed)} of memory"
    return ""


def until(resting: Iterable[Resting], lasts: float) -> float | None:
    """When the first one has to go though nothing else happens."""
    return min((item.since + lasts for item in resting), default=None)


def _sum(items: Iterable[Resting]) -> int:
    return sum(item.memory or 0 for item in items)


def _over(lasts: float) -> str:
    return f"its time in standby ({lasts:g} s) is over" if lasts else "standby is switched off"


def _share(limit: Memory, allowed: int) -> str:
    return f"share ({limit}: {_mebibytes(allowed)})" if limit.percent else f"share ({_mebibytes(allowed)})"


def _mebibytes(amount: int) -> str:
    return f"{amount / 2**20:.0f} MiB"
