"""What a driver asks of a fleet, as transactions. Pure: the command reads a view, sends the result and waits.

None of them is applied if what it relies on has changed since the view was read: read it again, then decide again.
"""

from __future__ import annotations

from dataclasses import replace

from deployd.errors import Refused
from deployd_cli.fleet import keys, order
from deployd_cli.fleet.goal import Goal, Kind
from deployd_cli.fleet.record import Failure, HistoryEntry, HostRecord, Result
from deployd_cli.fleet.transaction import Delete, Put, Transaction, Unchanged
from deployd_cli.fleet.verdict import FleetState, verdict
from deployd_cli.fleet.view import View, rolling

FORGOTTEN = "it was taken out of the fleet"


def members(view: View) -> dict[str, str]:
    """Return the machine IDs of the hosts that a new goal names: all but those that were released and have not come
    back, for which the fleet would wait again. The view must be wide, with alive/."""
    return {
        name: item.value.machine_id
        for name, item in view.hosts.items()
        if item.value.result is not Result.RELEASED or name in view.alive
    }


def set_goal(view: View, goal: Goal, now: str) -> Transaction:
    """Make `goal` that of the fleet, and record the outcome of the one before, at `now` (ISO 8601).

    Of two drivers, the one that comes second has seen another goal than the one that is there, and fails. So does a
    goal whose ID was used before.
    """
    new = HistoryEntry(goal.kind, goal.release, goal.of, len(goal.hosts), goal.created)
    return Transaction(
        (Unchanged(keys.GOAL, view.token), Unchanged(keys.history(goal.id), 0)),
        (Put(keys.GOAL, goal.text()), Put(keys.history(goal.id), new.text()), *_outcome(view, now)),
    )


def _outcome(view: View, now: str) -> tuple[Put, ...]:
    if view.goal is None:
        return ()
    goal, found = view.goal.value, verdict(view)
    state = found.state if found.ended else "superseded"
    entry = HistoryEntry(goal.kind, goal.release, goal.of, len(goal.hosts), goal.created, state, found.reason, now)
    return (Put(keys.history(goal.id), entry.text()),)


def rollback_of(view: View, fleet: str, now: str) -> Transaction:
    """Set the goal that returns all hosts to the release before the current goal, in reverse order. After an abort, it
    is the goal that was aborted.

    It names all hosts of open batches, since no other host can have moved, and fails if another batch is opened.
    Raises Refused if there is nothing to roll back.
    """
    if view.goal is None:
        raise Refused("there was no rollout of this fleet yet; begin one with deployd fleet rollout")
    current, of, batch = view.goal.value, view.token, view.open_batch
    if current.kind is Kind.ABORT:
        of, batch = current.of, view.opened(current.of)
    hosts, batches = order.reversed_to(current, batch)
    goal = Goal(fleet, Kind.ROLLBACK, hosts, batches, of=of, created=now)
    seen = Unchanged(keys.PROGRESS, view.progress.revision if view.progress is not None else 0)
    transaction = set_goal(view, goal, now)
    return replace(transaction, compares=(*transaction.compares, seen))


def abort_of(view: View, fleet: str, now: str) -> Transaction:
    """Set the goal that lets no other host begin and has those that roll abort. The view must be wide. Raises Refused
    if no rollout is in progress."""
    if view.goal is None or view.goal.value.kind is Kind.ABORT:
        raise Refused("no rollout of this fleet is in progress")
    if verdict(view).state is FleetState.DONE:
        raise Refused(f"{view.goal.value.id} has ended; take it back with deployd fleet rollback")
    current = view.goal.value
    goal = Goal(fleet, Kind.ABORT, current.hosts, current.batches, of=view.token, created=now)
    return set_goal(view, goal, now)


def pause(who: str) -> Transaction:
    """Let no other host begin; `who` asks for it. Fails if the fleet is paused."""
    return Transaction((Unchanged(keys.PAUSED, 0),), (Put(keys.PAUSED, who),))


def resume(view: View) -> Transaction:
    """Raises Refused if the fleet is not paused."""
    if not view.paused:
        raise Refused("the fleet is not paused")
    return Transaction((Unchanged(keys.PAUSED, view.paused),), (Delete(keys.PAUSED),))


def release_slot(view: View, host: str, now: str) -> Transaction:
    """Let the fleet continue without a host that is gone. The view must be wide.

    The host may still be rolling, and may return with either release: with its slot, the fleet loses the guarantee that
    at most one batch rolls. Raises Refused if the fleet does not wait for the host.
    """
    slot, record, goal = view.slots.get(host), view.hosts.get(host), view.goal
    if slot is not None and rolling(view, host):
        token, release, before = slot.value.token, slot.value.release, slot.value.before
    elif goal is not None and goal.value.kind is not Kind.ABORT and host in goal.value.places:
        token, release, before = goal.revision, goal.value.release, ""
        if record is not None and record.value.ended_for(token):
            raise Refused(f"{host}: nothing waits for it, since its rollout has ended ({record.value.result})")
    else:
        raise Refused(f"{host}: nothing waits for it; deployd fleet status shows what the fleet waits for")
    reason = "its slot was released while it was gone"
    machine_id = record.value.machine_id if record is not None else ""
    value = HostRecord(machine_id, token, release, before, Result.RELEASED, reason, now)
    return Transaction(
        (
            Unchanged(keys.GOAL, view.token),
            Unchanged(keys.slot(host), slot.revision if slot is not None else 0),
            Unchanged(keys.host(host), record.revision if record is not None else 0),
        ),
        (
            Put(keys.host(host), value.text()),
            Put(keys.failure(host), Failure(token, reason, excused=True).text()),
            *((Delete(keys.slot(host)),) if slot is not None else ()),
        ),
    )


def forget(view: View, host: str, now: str) -> Transaction:
    """Take a host that is gone out of the fleet: no new goal names it, and another machine may have its name. The view
    must be wide, with alive/.

    If it comes back, it is a member again. The slot of a host that has failed stays, as the request to roll out may
    still be on its way to the daemon. Raises Refused if the host is there, or if the fleet waits for it.
    """
    slot, record, goal = view.slots.get(host), view.hosts.get(host), view.goal
    if record is None:
        raise Refused(f"{host}: there is no such host in the fleet; deployd fleet status shows all")
    if host in view.alive:
        raise Refused(f"{host}: its agent is connected; stop deployd-fleet.service there first")
    due = goal is not None and goal.value.kind is not Kind.ABORT and host in goal.value.places
    if rolling(view, host) or (due and not record.value.ended_for(view.token) and not view.halted):
        raise Refused(f"{host}: the fleet waits for it; continue without it first: deployd fleet release-slot")
    value = replace(record.value, machine_id="", result=Result.RELEASED, reason=FORGOTTEN, ended=now)
    return Transaction(
        (
            Unchanged(keys.GOAL, view.token),
            Unchanged(keys.slot(host), slot.revision if slot is not None else 0),
            Unchanged(keys.host(host), record.revision),
            Unchanged(keys.alive(host), 0),
        ),
        (Put(keys.host(host), value.text()),),
    )
