"""What one host does next. A pure function of its view of etcd and of what its daemon knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from deployd_cli.fleet import keys
from deployd_cli.fleet.goal import Goal, Kind, OnFailure
from deployd_cli.fleet.record import Failure, HostRecord, Result, Slot
from deployd_cli.fleet.requests import rollback_of
from deployd_cli.fleet.transaction import Delete, NoneSince, Put, Transaction, Unchanged
from deployd_cli.fleet.view import Stored, View

LONGEST_ID = 128 - len("/rollback")
"""Characters of an ID to which "/rollback" can be added, see model/fleet.py."""


class State(StrEnum):
    """Of a rollout, as the daemon of this host has it."""

    ROLLING = "rolling"
    """In progress, also while it is paused or rolled back."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TAKEN_BACK = "taken-back"
    """It was live, and the daemon's watch has rolled it back afterwards."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The rollout of a fleet with the highest token that the daemon has accepted."""

    token: int
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Me:
    """This host, and what its daemon knows."""

    name: str
    machine_id: str
    boot: str
    """The boot ID of this machine."""
    invocation: str
    """The invocation ID of this agent: another one after each start."""
    now: str
    """The time in ISO 8601, for display."""
    live: str = ""
    """The ID of the release that is live, "" if none is."""
    rollout: Rollout | None = None
    """Must have been read from the daemon after the last event of it, and after its last reply to this agent."""
    busy: bool = False
    """Another rollout of the app is in progress, which no fleet has requested."""
    sent: int = 0
    """The token of the last Begin that this invocation of the agent has sent to the daemon, 0 if it has sent none."""
    aborted: int = 0
    """The token of the last rollout whose Abort the daemon has accepted."""
    refused: Rollout | None = None
    """The Begin of this token was refused by the daemon for this `reason`."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before the next event."""

    reason: str
    """For the log and the tests."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Request the rollout of the daemon with ID and token. The daemon takes the same request twice for one."""

    token: int
    fleet: str
    release: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Request of the daemon to abort the rollout in progress, which has this token. It rolls back."""

    token: int


@dataclass(frozen=True, slots=True)
class Write:
    """Try the transaction, then take the next turn: with View.wrote() if it has succeeded, and after reading the own
    keys again if not. Without an answer both are possible; the comparisons make another try harmless."""

    transaction: Transaction
    why: str
    """For the log and the tests."""


Act = Wait | Begin | Abort | Write


def turn(view: View, me: Me) -> Act:
    """Return the next act of this host. Call it after each event and after each act, with the newest view.

    `view` needs control/, slots/ME and hosts/ME; these may be older than what is in etcd, since each transaction
    compares what it relies on. The order of the cases matters: what has begun is brought to its end first.
    """
    record = view.hosts.get(me.name)
    if record is None:
        return _write("register", [Unchanged(keys.host(me.name), 0)], [_record(me, HostRecord(me.machine_id))])
    if not record.value.machine_id:  # it was released before it had registered, or taken out of the fleet
        own = [Unchanged(keys.host(me.name), record.revision)]
        return _write("register again", own, [_record(me, replace(record.value, machine_id=me.machine_id))])
    if record.value.machine_id != me.machine_id:
        return Wait(
            f"another machine, with the machine ID {record.value.machine_id}, is a member of the fleet as"
            f" {me.name}; give this host another name"
        )
    if (abort := _aborted(view, me)) is not None:
        return abort
    if me.rollout is not None and me.rollout.state is State.ROLLING:
        return Wait("the rollout is in progress")
    slot = view.slots.get(me.name)
    if slot is not None and not record.value.ended_for(slot.value.token):
        return _with_slot(view, me, record, slot)
    if (late := _late(view, me, record)) is not None:
        return late
    act = _without_slot(view, me, record, slot)
    return (_live(me, record) or act) if isinstance(act, Wait) else act


def _aborted(view: View, me: Me) -> Act | None:
    goal = view.goal
    if goal is None or goal.value.kind is not Kind.ABORT or me.rollout is None or me.rollout.state is not State.ROLLING:
        return None
    return Abort(me.rollout.token) if me.rollout.token == goal.value.of != me.aborted else None


def _with_slot(view: View, me: Me, record: Stored[HostRecord], slot: Stored[Slot]) -> Act:
    """Bring the rollout that the slot was taken for to its end, whatever the goal is now."""
    mine, ended = slot.value, me.rollout
    if ended is None or ended.token != mine.token:
        ended = me.refused if me.refused is not None and me.refused.token == mine.token else None
    if ended is not None:
        return _report(me, record, slot, ended)
    if me.busy:
        return Wait("another rollout of the app is in progress")
    goal = view.goal
    own = [Unchanged(keys.slot(me.name), slot.revision)]
    if goal is not None and goal.revision == mine.token:
        if mine.boot != me.boot:
            # Before it sends a request, so that an agent that is started after this one knows that there may be one.
            claimed = replace(mine, boot=me.boot, invocation=me.invocation)
            return _write("claim the slot after a boot", own, [Put(keys.slot(me.name), claimed.text())])
        return Begin(mine.token, mine.fleet, mine.release)
    if mine.boot == me.boot and mine.invocation != me.invocation:
        # The agent was killed. What it had sent may be on its way: to the daemon, the request to begin, and to etcd, to
        # give the slot back. The new revision of the slot makes the latter fail.
        claimed = replace(mine, invocation=me.invocation, sent=True)
        return _write("claim the slot", own, [Put(keys.slot(me.name), claimed.text())])
    if mine.boot == me.boot and (mine.sent or me.sent == mine.token):
        # To give the slot back now could let the rollout begin without one. The same request again has a definite
        # answer.
        return Begin(mine.token, mine.fleet, mine.release)
    return _write("give the slot back", own, [Delete(keys.slot(me.name))])


def _report(me: Me, record: Stored[HostRecord], slot: Stored[Slot], ended: Rollout) -> Act:
    """A host that has succeeded frees its slot. One that has failed keeps it, so that the fleet stops."""
    mine = slot.value
    succeeded = ended.state is State.SUCCEEDED
    compares = [Unchanged(keys.slot(me.name), slot.revision), Unchanged(keys.host(me.name), record.revision)]
    reason = f"taken back: {ended.reason}" if ended.state is State.TAKEN_BACK else ended.reason
    value = HostRecord(
        me.machine_id,
        mine.token,
        mine.release,
        mine.before,
        Result.SUCCEEDED if succeeded else Result.FAILED,
        reason,
        me.now,
    )
    if succeeded:
        return _write("report success", compares, [_record(me, value), Delete(keys.slot(me.name))])
    return _write("report a failure", compares, [_record(me, value), _failure(me, mine.token, reason)])


def _late(view: View, me: Me, record: Stored[HostRecord]) -> Act | None:
    """Report what happened after the slot was freed or released: the daemon has taken the release back, or the rollout
    of a host that was thought to be gone has ended. None if nothing did."""
    ended, known = me.rollout, record.value
    if ended is None or ended.token != known.token:
        return None
    own = [
        Unchanged(keys.host(me.name), record.revision),
        Unchanged(keys.slot(me.name), _revision(view.slots.get(me.name))),
    ]
    if known.result is Result.SUCCEEDED and ended.state is State.TAKEN_BACK:
        reason = f"taken back: {ended.reason}"
        value = _ended(me, known, Result.FAILED, reason)
        return _write("report that it was taken back", own, [value, _failure(me, known.token, reason)])
    if known.result is Result.RELEASED:
        result = Result.SUCCEEDED if ended.state is State.SUCCEEDED else Result.FAILED
        return _write("report after a release", own, [_ended(me, known, result, ended.reason)])
    return None


def _live(me: Me, record: Stored[HostRecord]) -> Act | None:
    """Report that another release is live than the one that the fleet has left here, or that this is over."""
    known = record.value
    # Without its app file, a host knows the directory of a release and not its ID.
    is_other = known.left and me.live and me.live != known.left and not me.live.endswith(f"/{known.left}")
    live = me.live if is_other else ""
    if live == known.live:
        return None
    own = [Unchanged(keys.host(me.name), record.revision)]
    return _write("report the release that is live", own, [_record(me, replace(known, live=live))])


def _without_slot(view: View, me: Me, record: Stored[HostRecord], slot: Stored[Slot] | None) -> Act:
    """Take a slot if the goal has something for this host now. `slot` is of an earlier failure, which stands."""
    goal = view.goal
    if goal is None or goal.value.kind is Kind.ABORT or me.name not in goal.value.places:
        return Wait("no goal for this host")
    if record.value.token >= goal.revision:
        return _fleet_rollback(view, me, goal) or Wait("done")
    own = [
        Unchanged(keys.GOAL, goal.revision),
        Unchanged(keys.slot(me.name), _revision(slot)),
        Unchanged(keys.host(me.name), record.revision),
    ]
    known, release = record.value, goal.value.release
    if goal.value.kind is Kind.ROLLBACK:
        release = known.before if known.token == goal.value.of and me.live != known.before else ""
        if not release:
            reason = "" if known.token != goal.value.of or known.before else "there was no release before"
            value = HostRecord(me.machine_id, goal.revision, me.live, me.live, Result.SUCCEEDED, reason, me.now)
            free = (Delete(keys.slot(me.name)),) if slot is not None else ()
            return _write("nothing to roll back", own, (_record(me, value), *free))
    if (obstacle := _waits(view, me, goal.value)) is not None:
        return Wait(obstacle)
    compares: list[Unchanged | NoneSince] = [*own, Unchanged(keys.PAUSED, 0), NoneSince(keys.FAILURES, view.revision)]
    mine = Slot(goal.revision, goal.value.id, release, me.live, me.boot, me.invocation)
    return _write("take a slot", compares, [Put(keys.slot(me.name), mine.text())])


def _waits(view: View, me: Me, goal: Goal) -> str | None:
    """Return why this host may not begin yet, None if it may."""
    batch = goal.batch_of(me.name)
    if batch is None or batch > view.open_batch:
        return "the batch of this host is not open"
    if view.paused:
        return "the fleet is paused"
    if view.halted:
        return "the fleet is halted"
    if me.busy:
        return "another rollout of the app is in progress"
    return None


def _fleet_rollback(view: View, me: Me, goal: Stored[Goal]) -> Act | None:
    """With on_failure = rollback, the hosts that have failed try to write the next goal; one of them does."""
    wanted = goal.value.kind is Kind.ROLLOUT and goal.value.on_failure is OnFailure.ROLLBACK
    if not wanted or not view.halted or me.name not in view.failed(goal.revision):
        return None
    return Write(rollback_of(view, f"{goal.value.id[:LONGEST_ID]}/rollback", me.now), "roll the fleet back")


def _revision(stored: Stored[Slot] | None) -> int:
    return stored.revision if stored is not None else 0


def _record(me: Me, value: HostRecord) -> Put:
    return Put(keys.host(me.name), value.text())


def _ended(me: Me, known: HostRecord, result: Result, reason: str) -> Put:
    value = HostRecord(me.machine_id, known.token, known.release, known.before, result, reason, me.now)
    return _record(me, value)


def _failure(me: Me, token: int, reason: str) -> Put:
    return Put(keys.failure(me.name), Failure(token, reason).text())


def _write(why: str, compares: Sequence[Unchanged | NoneSince], writes: Sequence[Put | Delete]) -> Write:
    return Write(Transaction(tuple(compares), tuple(writes)), why)
