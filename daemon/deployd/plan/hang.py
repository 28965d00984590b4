"""Which instances hang: they send no response although requests wait, and some of what clients sent is unread.

- An answer to any client counts as a sign of life of the whole instance, as WATCHDOG=1 does for systemd.
- To have requests in flight and to send nothing is not enough. That is also what a long download of the app, a long
  upload of a client, or a WebSocket on which only the client talks looks like, if no other client has anything to ask:
  an instance that is late gets new connections last. A process that works reads, and only one that hangs, or whose
  workers are all busy, leaves data unread for long.
- So one that hangs in the middle of its only request is found as soon as another client sends it something.

Nothing is polled: there is one look at the earliest time at which an instance may be found to hang. Pure and total.
Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from deployd.model.hang import Hang
from deployd.model.steering import Load


def silent(load: Load, now: float, ready_since: float = 0.0) -> float:
    """Return for how many seconds an instance has sent no response although requests wait; 0 if none does.

    Requests that came before it was ready wait since then: an instance that boots may have some in its queue.
    """
    return max(0.0, now - max(load.progress, ready_since)) if load.in_flight > 0 else 0.0


def suspects(loads: Mapping[int, Load], ready_since: Mapping[int, float], limit: float, now: float) -> frozenset[int]:
    """Return the instances of `ready_since` that have sent no response for `limit` seconds or more."""
    return frozenset(
        number
        for number, ready in ready_since.items()
        if number in loads and loads[number].in_flight and silent(loads[number], now, ready) >= limit
    )


def hanging(
    loads: Mapping[int, Load],
    ready_since: Mapping[int, float],
    unread: Mapping[int, Collection[float]],
    limit: float,
    now: float,
) -> dict[int, Hang]:
    """Return the instances of `ready_since` that hang for `limit` seconds or more.

    `unread`: for each suspect, how long ago the last data arrived on those of its connections that have data to read.
    """
    return {
        number: Hang(loads[number].in_flight, max(loads[number].progress, ready_since[number]))
        for number in suspects(loads, ready_since, limit, now)
        if any(age >= limit for age in unread.get(number, ()))
    }


def next_look(
    loads: Mapping[int, Load],
    ready_since: Mapping[int, float],
    unread: Mapping[int, Collection[float]],
    limit: float,
    now: float,
) -> float:
    """Return when an instance that does not hang now may be found to do so at the earliest."""
    times = [now + limit]
    for number, ready in ready_since.items():
        load = loads.get(number, Load())
        if not load.in_flight:
            continue
        if (left := limit - silent(load, now, ready)) > 0:
            times.append(now + left)
        else:
            times.extend(now + limit - age for age in unread.get(number, ()) if age < limit)
    return min(times)
