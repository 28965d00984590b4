"""Computes each instance's share of new connections of a steered app; the kernel distributes them accordingly.

The order is that in which Phusion Passenger routes requests during a rolling restart, according to its article on them:
processes of the newest generation first; among them those that were started first; among these the least busy; and an
older generation only when all newer ones are at their limit. So no client that has seen the new release gets the old
one again, as long as the new one keeps up. `shares` implements this as follows:

- During a rollback its target generation comes first, although its number is lower.
- All connections go to the first generation that has an instance with no more than `spill_over` connections in its
  queue, in equal shares. If there are other generations, the least busy instances get more. If all instances exceed the
  limit, all get the same.
- In a rollback no other generation than its target gets overflow, and least of all the one that it leaves: slow
  responses are better than bad ones. If the target does not serve, the others do, the one that it leaves last.
- An instance warms up: for `warm_up` seconds it gets a growing part of its share. The rest is divided equally among the
  warm instances of its generation and those of the next older generation; if there are none, it stays in the
  generation.
- A requested share (of a canary, or by `deployd weight`) takes precedence over all of that. It is exact, divided
  equally, and independent of queues; the rest goes even to the generation that a rollback leaves, if there is no other.
  Only if no other generation serves, the requested generation gets more.

Pure and total. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from deployd.model.generation import Cause
from deployd.model.rollout import Pause, Phase, Rollout

COLDEST = 0.01
"""The part of its share that an instance gets at first; without connections it would never warm up."""

STEPS = 50
"""Minimum number of steps of a warm-up."""

SHORTEST = 0.05
"""Minimum seconds between two steps."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that may get new connections: it is ready, passes its probe and is not stopping."""

    number: int
    generation: int | None
    """None counts as older than any."""
    started: float
    ready_since: float
    queue: int = 0
    """Connections that wait to be accepted; 0 if unknown."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the shares depend on, apart from the candidates themselves."""

    prefer: int | None = None
    """The generation that comes first; None for the newest."""
    asked: Mapping[int, float] = field(default_factory=dict)
    """Maps generations to requested shares, 0 to 1."""
    spill_over: int = 16
    warm_up: float = 0.0
    shunned: int | None = None
    """The generation that a rollback leaves. Others may be as bad: a rollback may supersede the rollout of one."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How new connections are distributed."""

    shares: Mapping[int, float]
    """Maps every candidate to its share. The shares sum up to 1; empty without candidates."""
    order: tuple[int, ...]
    """Fallback order: the first that listens gets a connection that its instance cannot take."""
    wake_at: float | None = None
    """When the shares change even if nothing else does."""
    queues: bool = False
    """True if the shares depend on the queues now, which are then to be read every few milliseconds."""


def shares(candidates: Iterable[Candidate], policy: Policy, now: float) -> Shares:
    """Return the share of each candidate, by the rules above."""
    found = sorted(candidates, key=lambda item: _turn(item, policy))
    order = tuple(item.number for item in found)
    asked, ruled, rest = _as_asked(found, policy)
    ruled = _not_shunned(ruled, policy)
    taken, warming = _by_rule(ruled, policy, now) if rest else ({}, False)
    given = {number: asked.get(number, 0.0) + rest * taken.get(number, 0.0) for number in order}
    return Shares(
        given,
        order,
        wake_at=_next_step(ruled, policy, now) if warming else None,
        queues=rest > 0 and len(_generations(ruled)) > 1,
    )


def preferred(rollout: Rollout | None) -> int | None:
    """Return the generation that comes first, the target of the rollout or rollback; None for the newest."""
    if rollout is None:
        return None
    return rollout.origin if _rolls_back(rollout) else rollout.target


def asked(rollout: Rollout | None, instances: int, serving: Mapping[int, int]) -> dict[int, float]:
    """Return the shares requested in this phase of a rollout to so many `instances`.

    `serving` maps generations to their number of candidates. A weight that was set takes precedence over the share of
    the next hold. Before the hold is reached, the new generation gets no more than the proportion of its instances.
    There is no request once no hold is left, nor during a rollback.
    """
    if rollout is None or _rolls_back(rollout):
        return {}
    if rollout.weight is not None:
        return dict((rollout.weight,))
    new = serving.get(rollout.target, 0)
    if not rollout.holds or not new:
        return {}
    share = rollout.holds[0].share
    if share is None:
        return {rollout.target: new / sum(serving.values())}
    return {rollout.target: min(share, new / max(1, instances))}


def shunned(rollout: Rollout | None, cause: Cause | None) -> int | None:
    """Return the generation that a rollback leaves. `cause` is that of the rollout's target."""
    if rollout is None:
        return None
    if _rolls_back(rollout):
        return rollout.target
    return rollout.origin if cause is not None and cause.rolls_back else None


def _rolls_back(rollout: Rollout) -> bool:
    return rollout.phase is Phase.ROLLING_BACK or rollout.pause is Pause.STRANDED


def _turn(item: Candidate, policy: Policy) -> tuple[bool, float, float, int, int]:
    preferred = policy.prefer is not None and item.generation == policy.prefer
    generation = float("inf") if item.generation is None else -item.generation
    return (not preferred, generation, item.started, item.queue, item.number)


def _generations(found: Iterable[Candidate]) -> list[list[Candidate]]:
    """Group candidates by generation, in order."""
    return [list(items) for _, items in groupby(found, key=lambda item: item.generation)]


def _as_asked(found: list[Candidate], policy: Policy) -> tuple[dict[int, float], list[Candidate], float]:
    """Return the requested shares, the candidates to which the rules apply, and their total share."""
    claims = [
        (items, max(0.0, share))
        for items in _generations(found)
        if (share := policy.asked.get(items[0].generation or 0)) is not None
    ]
    claimants = {item.number for items, _ in claims for item in items}
    ruled = [item for item in found if item.number not in claimants]
    total = sum(share for _, share in claims)
    if claims and not ruled and not total:
        return dict.fromkeys(claimants, 1 / len(claimants)), [], 0.0
    whole = total if claims and (total > 1 or not ruled) else 1.0
    given = {item.number: share / whole / len(items) for items, share in claims for item in items}
    return given, ruled, max(0.0, 1 - total / whole) if ruled else 0.0


def _not_shunned(found: list[Candidate], policy: Policy) -> list[Candidate]:
    if policy.shunned is None:
        return found
    good = [item for item in found if item.generation == policy.prefer]
    return good or [item for item in found if item.generation != policy.shunned] or found


def _by_rule(found: list[Candidate], policy: Policy, now: float) -> tuple[dict[int, float], bool]:
    """Return the shares by the rules, and True if an instance with a share is warming up."""
    generations = _generations(found)
    free = [[item for item in items if item.queue <= policy.spill_over] for items in generations]
    first = next((index for index, items in enumerate(free) if items), None)
    if first is None:
        return dict.fromkeys((item.number for item in found), 1 / len(found)) if found else {}, False
    serving = free[first]
    helpers = next((items for items in free[first + 1 :] if items), [])
    several = len(generations) > 1
    weights = {item.number: policy.spill_over + 1 - item.queue if several else 1 for item in serving}
    total = sum(weights.values())
    warmth = {item.number: _warmth(item, policy, now) for item in serving}
    given = {number: warmth[number] * weight / total for number, weight in weights.items()}
    left = 1 - sum(given.values())
    takers = [item.number for item in (*serving, *helpers) if warmth.get(item.number, 1.0) >= 1]
    cold = any(part < 1 for part in warmth.values())
    if not takers:
        scale = sum(given.values())
        return {number: share / scale for number, share in given.items()}, cold and len(given) > 1
    for number in takers if cold else ():
        given[number] = given.get(number, 0.0) + left / len(takers)
    return given, cold


def _warmth(item: Candidate, policy: Policy, now: float) -> float:
    ready = max(0.0, now - item.ready_since)
    return 1.0 if ready >= policy.warm_up else max(COLDEST, ready / policy.warm_up)


def _next_step(found: Iterable[Candidate], policy: Policy, now: float) -> float:
    warm_at = [item.ready_since + policy.warm_up for item in found if _warmth(item, policy, now) < 1]
    return max(now + SHORTEST, min(now + policy.warm_up / STEPS, *warm_at))
