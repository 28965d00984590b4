"""Groups the instances of a steered app; the kernel gives each new connection to the least busy of a group.

The order is that of Phusion Passenger during a rolling restart, except that a generation never waits for its turn:
idle instances before busy ones, and among equally busy ones the newest generation first. So a client that has seen the
new release gets the old one again only if the new one is busy and the old one is idle. `distribution` implements this:

- All instances are in one group, ranked by generation: the target of the rollout first, then the newest. Which of them
  is the least busy is counted in the kernel, for each connection.
- In a rollback no other generation than its target gets any as long as that serves: slow responses are better than bad
  ones. If it does not serve, the others do, the one that the rollback leaves last.
- A requested share (of a canary, or by `deployd weight`) is exact: the generation is a group of its own with that
  weight. The rest goes to the group of all others, even to the generation that a rollback leaves, if there is no other.
  Only if no other generation serves, the requested generation gets more.
- An instance warms up: for `warm_up` seconds it is in a group of its own, with a growing part of an equal share. Those
  that are equally warm are in one group.

Where the kernel cannot count, it distributes the connections of a group in turn, whatever the ranks are.

Pure and total. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from deployd.model.generation import Cause
from deployd.model.rollout import Pause, Phase, Rollout
from deployd.model.steering import RANKS, Group

COLDEST = 0.01
"""The part of its share that an instance gets at first; without connections it would never warm up."""

STEPS = 32
"""Number of steps of a warm-up. There may be a group for each, and the kernel's table has room for 64 groups."""

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


@dataclass(frozen=True, slots=True)
class Policy:
    """What the distribution depends on, apart from the candidates themselves."""

    prefer: int | None = None
    """The generation that comes first; None for the newest."""
    asked: Mapping[int, float] = field(default_factory=dict)
    """Maps generations to requested shares, 0 to 1."""
    warm_up: float = 0.0
    shunned: frozenset[int] = frozenset()
    """The generations that a rollback leaves. Others may be as bad: a rollback may supersede the rollout of one."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How new connections are distributed."""

    groups: tuple[Group, ...]
    """The weights sum up to 1; empty without candidates."""
    order: tuple[int, ...]
    """Fallback order: the first that listens gets a connection that its group cannot take."""
    wake_at: float | None = None
    """When the groups change even if nothing else does."""

    @property
    def weights(self) -> dict[int, float]:
        """Map each candidate to its part of new connections as long as all are equally busy, 0 for none."""
        each = {number: group.weight / len(group.members) for group in self.groups for number, _ in group.members}
        return {number: each.get(number, 0.0) for number in self.order}


def distribution(candidates: Iterable[Candidate], policy: Policy, now: float) -> Distribution:
    """Return the groups of the candidates, by the rules above."""
    found = sorted(candidates, key=lambda item: _turn(item, policy))
    asked, ruled, rest = _as_asked(found, policy)
    ruled = _not_shunned(ruled, policy)
    groups = [*asked, *_by_rule(ruled, policy, now, rest)]
    cold = rest > 0 and len(ruled) > 1 and any(_step(item, policy, now) < STEPS for item in ruled)
    return Distribution(
        tuple(group for group in groups if group.weight > 0),
        tuple(item.number for item in found),
        wake_at=_next_step(ruled, policy, now) if cold else None,
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


def shunned(rollout: Rollout | None, cause: Cause | None) -> frozenset[int]:
    """Return the generation that a rollback leaves, if there is one. `cause` is that of the rollout's target."""
    if rollout is None:
        return frozenset()
    if _rolls_back(rollout):
        return frozenset((rollout.target,))
    if rollout.origin is None or cause is None or not cause.rolls_back:
        return frozenset()
    return frozenset((rollout.origin,))


def _rolls_back(rollout: Rollout) -> bool:
    return rollout.phase is Phase.ROLLING_BACK or rollout.pause is Pause.STRANDED


def _turn(item: Candidate, policy: Policy) -> tuple[bool, float, float, int]:
    return (*_precedence(item, policy), item.started, item.number)


def _precedence(item: Candidate, policy: Policy) -> tuple[bool, float]:
    preferred = policy.prefer is not None and item.generation == policy.prefer
    return not preferred, float("inf") if item.generation is None else -item.generation


def _as_asked(found: list[Candidate], policy: Policy) -> tuple[list[Group], list[Candidate], float]:
    """Return a group for each requested share, the candidates to which the rules apply, and their total share."""
    generations = [list(items) for _, items in groupby(found, key=lambda item: item.generation)]
    claims = [
        (items, max(0.0, share))
        for items in generations
        if items[0].generation is not None and (share := policy.asked.get(items[0].generation)) is not None
    ]
    claimants = {item.number for items, _ in claims for item in items}
    ruled = [item for item in found if item.number not in claimants]
    total = sum(share for _, share in claims)
    if claims and not ruled and not total:
        return [], [item for items, _ in claims for item in items], 1.0
    whole = total if claims and (total > 1 or not ruled) else 1.0
    groups = [_group(items, policy, share / whole) for items, share in claims]
    return groups, ruled, max(0.0, 1 - total / whole) if ruled else 0.0


def _not_shunned(found: list[Candidate], policy: Policy) -> list[Candidate]:
    if not policy.shunned:
        return found
    good = [item for item in found if policy.prefer is not None and item.generation == policy.prefer]
    return good or [item for item in found if item.generation not in policy.shunned] or found


def _by_rule(found: list[Candidate], policy: Policy, now: float, rest: float) -> list[Group]:
    """Return a group for those that are warm, and one for each step of the others; their weights sum up to `rest`."""
    by_step: dict[int, list[Candidate]] = {}
    for item in found:
        by_step.setdefault(_step(item, policy, now), []).append(item)
    parts = {step: len(items) / len(found) * _part(step) for step, items in by_step.items()}
    if STEPS in by_step:
        parts[STEPS] = 1 - sum(part for step, part in parts.items() if step < STEPS)
    whole = sum(parts.values())
    return [_group(by_step[step], policy, rest * parts[step] / whole) for step in sorted(by_step, reverse=True)]


def _group(items: list[Candidate], policy: Policy, weight: float) -> Group:
    places = sorted({_precedence(item, policy) for item in items})
    ranks = {place: min(rank, RANKS - 1) for rank, place in enumerate(places)}
    return Group(tuple((item.number, ranks[_precedence(item, policy)]) for item in items), weight)


def _step(item: Candidate, policy: Policy, now: float) -> int:
    """Return how warm an instance is, from 0 to STEPS."""
    ready = max(0.0, now - item.ready_since)
    return STEPS if ready >= policy.warm_up else min(STEPS - 1, int(ready / policy.warm_up * STEPS))


def _part(step: int) -> float:
    return max(COLDEST, step / STEPS)


def _next_step(found: Iterable[Candidate], policy: Policy, now: float) -> float:
    cold = [(item, step) for item in found if (step := _step(item, policy, now)) < STEPS]
    return max(now + SHORTEST, min(item.ready_since + policy.warm_up * (step + 1) / STEPS for item, step in cold))
