"""When the next batch opens, and which hosts decide it: its first three. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from deployd_cli.fleet import keys
from deployd_cli.fleet.goal import Goal, Kind
from deployd_cli.fleet.record import Progress
from deployd_cli.fleet.transaction import NoneSince, Put, Transaction, Unchanged
from deployd_cli.fleet.view import View, rolling

STEWARDS = 3
"""Enough to survive two hosts, and few enough that only a constant number watches the results of all hosts."""


@dataclass(frozen=True, slots=True)
class Bake:
    """Since when this steward knows that all batches before `batch` have succeeded, on its own monotonic clock."""

    token: int
    batch: int
    since: float


@dataclass(frozen=True, slots=True)
class Step:
    """What a steward does now, and what it must remember for the next call."""

    transaction: Transaction | None = None
    """Opens the next batch. If it does not succeed, another steward was faster or the view is old: read again."""
    bake: Bake | None = None
    wake: float | None = None
    """Call again at this time of the monotonic clock if no event comes earlier. None: at the next event."""


def stewards(goal: Goal, excused: frozenset[str], batch: int) -> tuple[str, ...]:
    """Return the hosts that open a batch: the first three from its start on that are not excused.

    Without all of them the batch does not open, but it could not end without them either, until they are excused.
    """
    hosts = (goal.hosts[place] for place in range(goal.starts[batch], len(goal.hosts)))
    return tuple(islice((host for host in hosts if host not in excused), STEWARDS))


def is_steward(view: View, host: str) -> bool:
    """True if this host must watch slots/ and hosts/, too, to open the next batch. Needs control/ only."""
    goal, batch = view.goal, view.open_batch + 1
    if goal is None or goal.value.kind is Kind.ABORT or batch >= len(goal.value.batches) or view.halted:
        return False
    return host in stewards(goal.value, view.excused(goal.revision), batch)


def step(view: View, host: str, bake: Bake | None, now: float) -> Step:
    """Return what this host does as a steward; `bake` is what the last call returned, None after a start."""
    goal, batch = view.goal, view.open_batch + 1
    if goal is None or not view.wide or not is_steward(view, host) or not _due(view, goal.value, batch):
        return Step()
    if bake is None or (bake.token, bake.batch) != (goal.revision, batch):
        bake = Bake(goal.revision, batch, now)
    if batch > 0 and now < (ready := bake.since + goal.value.bake):
        return Step(None, bake, ready)
    if view.paused:
        return Step(None, bake)
    return Step(_opening(view, goal.revision, batch), bake)


def _due(view: View, goal: Goal, batch: int) -> bool:
    """True if no host rolls that must have ended before this batch opens.

    The batches before the last open one had ended when that was opened, and a rollout that has ended stays so.
    """
    if batch == 0:
        return not any(rolling(view, host) for host in view.slots)
    records = (view.hosts.get(host) for host in goal.batch(batch - 1))
    return all(record is not None and record.value.ended_for(view.token) for record in records)


def _opening(view: View, token: int, batch: int) -> Transaction:
    return Transaction(
        (
            Unchanged(keys.GOAL, token),
            Unchanged(keys.PAUSED, 0),
            Unchanged(keys.PROGRESS, view.progress.revision if view.progress is not None else 0),
            NoneSince(keys.FAILURES, view.revision),
        ),
        (Put(keys.PROGRESS, Progress(token, batch).text()),),
    )
