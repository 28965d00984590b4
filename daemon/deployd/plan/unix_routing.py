"""Which generation's UNIX socket new connections go to.

UNIX sockets have no SO_REUSEPORT: an address leads to one socket, from which all instances of a generation accept. So
all new connections go to one generation, and this is decided when generations change, not for each connection:

- With weights asked for (a canary, `deployd weight`) the generation with the larger weight gets them.
- Otherwise the generation that the policy prefers gets them as soon as no fewer of its instances serve than of the one
  that had them: its queue must not become longer than that of the old one was.
- It gets them as soon as it serves at all if the old one must not have them (a rollback) or is to be frozen (standby:
  no connection may wait for a frozen process).
- Instances that start with the machine count as if they served: one that boots faster takes nothing from the others.
- They never return to an older generation for the length of a queue, or because an instance crashed.

Pure and total. Sockets are numbered; a generation that adopts instances keeps their socket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from deployd.plan import routing
from deployd.plan.routing import Candidate, Policy


def leader(
    candidates: Iterable[Candidate],
    sockets: Mapping[int, int],
    current: int | None,
    policy: Policy,
    *,
    at_once: bool = False,
    starting: Collection[int] = (),
) -> int | None:
    """Return the socket that new connections go to, or `current` if no instance serves.

    `sockets`: instance number to the socket from which it accepts; `current`: the socket that had them so far;
    `at_once`: the preferred generation gets them as soon as it serves; `starting`: instances that start for the first
    time, with the machine or the app.
    """
    there = [item for item in candidates if item.number in sockets]
    if not there:
        return current
    found = routing.distribution(there, policy, now=max(item.ready_since for item in there) + policy.warm_up)
    serving = Counter(sockets[item.number] for item in there)
    first = sockets[found.order[0]]
    if policy.asked:
        weights = dict.fromkeys(serving, 0.0)
        for number, share in found.weights.items():
            weights[sockets[number]] += share
        return max(weights, key=lambda number: (round(weights[number], 9), number == first, number == current))
    before = serving[current] + sum(sockets.get(number) == current for number in starting) if current is not None else 0
    if not before or at_once or serving[first] >= before:
        return first
    return current
