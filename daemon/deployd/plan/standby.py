"""Which instances may be kept in standby, and which must stop. Pure; instances/ freezes and stops them.

A frozen instance uses its memory and nothing else. It may be kept for a limited time, as long as all instances in
standby stay within their share of memory. When memory runs short, all of them are stopped at once, because they are
needed least.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deployd.model.pace import Memory

NEVER = 2**64 - 1
"""USEC_INFINITY: no timeout."""

PATIENCE = 5.0
"""Seconds that connections get at least to end: a frozen process would not answer them."""


@dataclass(frozen=True, slots=True)
class Resting:
    """An instance in standby. Times are CLOCK_MONOTONIC seconds."""

    number: int
    generation: int
    since: float
    memory: int | None = None
    """Memory that it uses, in bytes, if known."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """An instance that has to stop, and why."""

    number: int
    generation: int
    reason: str


def expired(item: Resting, lasts: float, now: float) -> bool:
    """True if the time of an instance in standby is over."""
    return item.since + lasts <= now


def leaving(
    resting: Iterable[Resting], lasts: float, now: float, *, available: int | None, limit: Memory, short: bool
) -> tuple[Leaving, ...]:
    """Return which instances have to stop, in order.

    `available` is MemAvailable in bytes; `short` is True if the kernel reports memory pressure.
    """
    items = sorted(resting, key=lambda item: item.number)
    if short:
        return tuple(Leaving(item.number, item.generation, "memory is running short") for item in items)
    going = [Leaving(item.number, item.generation, _over(lasts)) for item in items if expired(item, lasts, now)]
    left = [item for item in items if not expired(item, lasts, now)]
    if available is None:
        return tuple(going)
    allowed = limit.of(available)
    # The highest number first, because a rollback thaws the lowest numbers first.
    while left and _sum(left) > allowed:
        item = left.pop()
        reason = f"standby uses more than its {_share(limit, allowed)} of memory"
        going.append(Leaving(item.number, item.generation, reason))
    return tuple(going)


def refusal(
    memory: int | None, others: Iterable[Resting], *, available: int | None, limit: Memory, watchdog: int
) -> str:
    """Return why an instance that uses `memory` is stopped instead of frozen, "" if it may join `others` in standby.

    `watchdog` is WatchdogUSec of its unit: systemd would kill it for missing keep-alive messages.
    """
    if watchdog not in (0, NEVER):
        return "its watchdog (WatchdogSec=) would end it in standby"
    if memory is None:
        return "its memory usage is unknown"
    if available is None:
        return "the amount of available memory is unknown"
    allowed = limit.of(available)
    total = memory + _sum(others)
    if total > allowed:
        return f"{_mebibytes(total)} in standby would exceed its {_share(limit, allowed)} of memory"
    return ""


def patience(close_after: float) -> float:
    """Return the seconds that the connections of an instance in standby may last."""
    return max(close_after, PATIENCE)


def connected(count: int) -> str:
    """Return why an instance whose connections have lasted too long has to stop."""
    return f"it still has {count} connection{'s' if count > 1 else ''}"


def until(resting: Iterable[Resting], lasts: float) -> float | None:
    """Return when the time of the first instance is over."""
    return min((item.since + lasts for item in resting), default=None)


def _sum(items: Iterable[Resting]) -> int:
    return sum(item.memory or 0 for item in items)


def _over(lasts: float) -> str:
    return f"its time in standby ({lasts:g} s) is over" if lasts else "standby is switched off"


def _share(limit: Memory, allowed: int) -> str:
    return f"share ({limit}: {_mebibytes(allowed)})" if limit.percent else f"share ({_mebibytes(allowed)})"


def _mebibytes(amount: int) -> str:
    return f"{amount / 2**20:.0f} MiB"
