"""How many instances above `instances` a rollback may run: as `rollback_surge` says, if the machine bears it. Pure.

Every second of a rollback costs bad responses, so its instances boot at the same time, by default all. Two limits keep
it from making things worse, because a rollback that fails is worse than a slow one:

- Memory: those that are started must fit into what is available, of the machine and of each slice with a limit; a tenth
  of each stays free.
- Processors: boots share them. Even if a boot is nothing but CPU time, those that are started must be ready within the
  gate timeout. How long a boot takes is not enough to know that: if many booted together the last time, they waited for
  each other. So what the running instances have used since their start counts, if it is less.

`max_surge` is always allowed: each rollout may start so many.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from deployd.model.app import App

RESERVE = 10
"""Percent of the memory that stay free."""

WITHIN = 0.75
"""The part of the gate timeout in which the boots must end. The rest is for what else the machine does."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Memory that the instances share with others: that of the machine, or of a cgroup with a limit. In bytes."""

    size: int
    free: int


@dataclass(frozen=True, slots=True)
class Resources:
    """What a rollback needs, and what the machine has for further instances of the app."""

    useful: int
    """The instances above `instances` that run at most if it starts all that it lacks before it stops any."""
    pools: tuple[Pool, ...] = ()
    settled: int = 0
    """The instances that used their memory when the pools were read: they had booted."""
    own: tuple[int, ...] = ()
    """Bytes that instances of the generation to be started use, of those that run."""
    others: tuple[int, ...] = ()
    """Bytes that other instances of the app use."""
    processors: int = 1
    boots: tuple[float, ...] = ()
    """Seconds that past boots took."""
    busy: tuple[float, ...] = ()
    """Seconds of CPU time that instances have used, each since its start."""


@dataclass(frozen=True, slots=True)
class Surge:
    """The number of instances above `instances`, and what keeps it below `rollback_surge`, "" if nothing does."""

    count: int
    limit: str = ""


def rollback_surge(app: App, there: Resources) -> Surge:
    """Return how many instances above `instances` of `app` a rollback may run."""
    usual = app.pace.max_surge.of(app.instances, round_up=True)
    wanted = min(app.pace.rollback_surge.of(app.instances, round_up=True), app.instances, there.useful)
    limits = {"memory": there.settled + _fitting(there) - app.instances}
    if boot := min((median(there.boots or (0.0,)), *there.busy)):
        # Rounded, because the quotient may be a little less than an integer in floating point. More are never wanted
        # than there are instances, and the quotient of a boot that took next to nothing may be infinite.
        fitting = round(there.processors * WITHIN * app.gate.timeout / boot, 6)
        limits["the gate timeout"] = int(min(fitting, app.instances))
    limit = min(limits, key=lambda name: limits[name])
    if wanted <= max(usual, limits[limit]):
        return Surge(max(usual, wanted))
    return Surge(max(usual, limits[limit]), limit)


def _fitting(there: Resources) -> int:
    """Return how many more instances fit into memory; none if that is unknown."""
    size = _size(there)
    if not size or not there.pools:
        return 0
    return min(max(0, pool.free - pool.size * RESERVE // 100) // size for pool in there.pools)


def _size(there: Resources) -> int:
    """Return the bytes that one more instance will use, 0 if that is unknown. Some instances of the generation that is
    left may use more than any of the one to be started, hence the median of these."""
    return max(there.own) if there.own else int(median(there.others)) if there.others else 0
