"""What a fleet is, and why it stands if it stands: what `deployd fleet status` shows. Pure, of a wide view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from deployd_cli.fleet import keys
from deployd_cli.fleet.goal import Goal, Kind
from deployd_cli.fleet.record import Result
from deployd_cli.fleet.steward import stewards
from deployd_cli.fleet.view import Stored, View, rolling

NAMED = 5
"""How many hosts a sentence names."""


class HostState(StrEnum):
    NEW = "new"
    """It has what the goal has for it."""
    OLD = "old"
    """It has not begun."""
    ROLLING = "rolling"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It has never registered, or its slot was released."""


class FleetState(StrEnum):
    IDLE = "idle"
    """No goal was ever set, or it cannot be read."""
    WAITING = "waiting"
    """Hosts still roll under an older goal."""
    ROLLING = "rolling"
    BAKING = "baking"
    """A batch has succeeded, and the next one is not open yet."""
    PAUSED = "paused"
    HALTED = "halted"
    ABORTING = "aborting"
    ABORTED = "aborted"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class HostVerdict:
    state: HostState
    reason: str = ""
    batch: int | None = None
    """Index of its batch, None if it has no part in the goal."""
    alive: bool = False
    """Its agent is connected to etcd."""


@dataclass(frozen=True, slots=True)
class FleetVerdict:
    state: FleetState
    reason: str
    """One sentence; "" if there is nothing to say."""
    hosts: Mapping[str, HostVerdict]
    """By name: those of the goal in its order, then all others."""
    waiting_for: tuple[str, ...] = ()
    """The hosts that must end before another one begins or, if none must, those of which one opens the next batch."""

    @property
    def counts(self) -> Mapping[HostState, int]:
        return Counter(item.state for item in self.hosts.values())

    @property
    def ended(self) -> bool:
        """True if nothing begins or ends without another request."""
        return self.state in (FleetState.IDLE, FleetState.HALTED, FleetState.ABORTED, FleetState.DONE)


def verdict(view: View) -> FleetVerdict:
    """Return what the fleet is. The view must be wide."""
    state, reason, waiting_for = _fleet(view)
    gone = {host for host, item in view.hosts.items() if not item.value.machine_id and host not in view.alive}
    others = {*view.slots, *view.hosts} - gone
    names = dict.fromkeys((*(view.goal.value.hosts if view.goal else ()), *sorted(others)))
    return FleetVerdict(state, reason, {name: _host(view, name) for name in names}, waiting_for)


def _fleet(view: View) -> tuple[FleetState, str, tuple[str, ...]]:
    goal = view.goal
    if goal is None:
        return FleetState.IDLE, view.problems.get(keys.GOAL, "no rollout was begun yet"), ()
    moving = tuple(sorted(host for host in view.slots if rolling(view, host)))
    if goal.value.kind is Kind.ABORT:
        if moving:
            return FleetState.ABORTING, f"waiting for {_named(moving)}", moving
        return FleetState.ABORTED, f"the goal {goal.value.of} was aborted", ()
    if view.halted:
        return FleetState.HALTED, _halted(view, goal), moving
    token = goal.revision
    if all(_ended(view, host, token) for host in goal.value.hosts):
        return FleetState.DONE, _done(view, goal), ()
    if view.paused:
        still = f"; {_named(moving)} still roll" if moving else ""
        return FleetState.PAUSED, f"the fleet is paused{still}; continue with deployd fleet resume", moving
    if view.open_batch < 0 and moving:
        return FleetState.WAITING, f"waiting for {_named(moving)}, which still roll under an older goal", moving
    return _rolling(view, goal)


def _rolling(view: View, goal: Stored[Goal]) -> tuple[FleetState, str, tuple[str, ...]]:
    batch, number = view.open_batch, len(goal.value.batches)
    opening = stewards(goal.value, view.excused(goal.revision), batch + 1) if batch + 1 < number else ()
    if batch < 0:
        return FleetState.ROLLING, f"batch 1 of {number} opens when one of {_named(opening)} is there", opening
    due = goal.value.hosts[: goal.value.starts[batch + 1]]
    if left := tuple(host for host in due if not _ended(view, host, goal.revision)):
        return FleetState.ROLLING, f"batch {batch + 1} of {number}: waiting for {_named(left)}", left
    sentence = f"batch {batch + 1} of {number} has ended; one of {_named(opening)} opens the next one"
    return FleetState.BAKING, f"{sentence} after {goal.value.bake:g} s", opening


def _halted(view: View, goal: Stored[Goal]) -> str:
    failed = view.failed(goal.revision)
    reasons = {view.failures[host].value.reason for host in failed}
    because = f": {reasons.pop()}" if len(reasons) == 1 else ""
    done = sum(1 for host in goal.value.hosts if _succeeded(view, host, goal.revision))
    return f"{_named(failed)} failed, {done} of {len(goal.value.hosts)} hosts are done{because}"


def _done(view: View, goal: Stored[Goal]) -> str:
    token = goal.revision
    parts = [
        f"{_named(hosts)} {what}"
        for hosts, what in ((view.failed(token), "failed"), (sorted(view.excused(token)), "released"))
        if hosts
    ]
    return ", ".join(parts)


def _ended(view: View, host: str, token: int) -> bool:
    record = view.hosts.get(host)
    return record is not None and record.value.ended_for(token)


def _succeeded(view: View, host: str, token: int) -> bool:
    record = view.hosts.get(host)
    return record is not None and record.value.token == token and record.value.result is Result.SUCCEEDED


def _host(view: View, name: str) -> HostVerdict:
    goal, record = view.goal, view.hosts.get(name)
    batch = goal.value.batch_of(name) if goal is not None else None
    state, reason = HostState.OLD, ""
    if rolling(view, name):
        slot = view.slots[name].value
        state, reason = HostState.ROLLING, "" if slot.token == view.token else f"under an older goal, {slot.fleet}"
    elif record is None:
        state, reason = HostState.UNKNOWN, "it has never registered"
    elif record.value.result is Result.RELEASED:
        state, reason = HostState.UNKNOWN, record.value.reason
    elif record.value.token in _tokens(view):
        state = {Result.SUCCEEDED: HostState.NEW, Result.FAILED: HostState.FAILED}.get(record.value.result, state)
        reason = record.value.reason
    if record is not None and record.value.live and record.value.left and state is not HostState.ROLLING:
        instead = f"{record.value.live} is live there instead of {record.value.left}"
        reason = f"{reason}; {instead}" if reason else instead
    return HostVerdict(state, reason, batch, name in view.alive)


def _tokens(view: View) -> tuple[int, ...]:
    """Return the tokens of the results that count as new or failed."""
    if view.goal is None:
        return ()
    return (view.goal.value.of,) if view.goal.value.kind is Kind.ABORT else (view.token,)


def _named(hosts: Sequence[str]) -> str:
    more = len(hosts) - NAMED
    return ", ".join(hosts[:NAMED]) + (f" and {more} more" if more > 0 else "")
