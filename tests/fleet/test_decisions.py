"""Turns, openings and verdicts of any view, also of one that no history leads to: never more than is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import Refused
from deployd.model.fleet import ID
from deployd_cli.fleet import keys, order
from deployd_cli.fleet.goal import Goal, Kind, OnFailure
from deployd_cli.fleet.record import Failure, HistoryEntry, HostRecord, Progress, Result, Slot
from deployd_cli.fleet.requests import abort_of, forget, members, pause, release_slot, resume, rollback_of, set_goal
from deployd_cli.fleet.steward import STEWARDS, Bake, is_steward, step, stewards
from deployd_cli.fleet.transaction import Delete, NoneSince, Put, Transaction, Unchanged
from deployd_cli.fleet.turn import Abort, Begin, Me, Rollout, State, Wait, Write, turn
from deployd_cli.fleet.verdict import FleetState, HostState, verdict
from deployd_cli.fleet.view import Stored, View

NAMES = ("web1", "web2", "web3", "web4")
NOW = "2026-11-27T00:00:00Z"
TOKENS = st.integers(1, 6)
RELEASES = st.sampled_from(["", "v1", "v2"])
GOAL = Goal("shop-v2", Kind.ROLLOUT, NAMES, (1, 3), "v2")
ME = Me("web1", "machine-web1", "boot", "start", NOW, "v1")


@st.composite
def goals(draw: st.DrawFn) -> Goal:
    hosts = tuple(draw(st.permutations(NAMES)))[: draw(st.integers(0, 4))]
    kind = draw(st.sampled_from(Kind))
    rollout = kind is Kind.ROLLOUT
    return Goal(
        draw(st.sampled_from(["a", "b" * 128])),
        kind,
        hosts,
        order.batches(draw(st.sampled_from(["1", "2", "1,2", "4"])), len(hosts)),
        "v2" if rollout else "",
        0 if rollout else draw(TOKENS),
        max_failures=draw(st.integers(0, 2)),
        bake=draw(st.sampled_from([0.0, 5.0])),
        on_failure=draw(st.sampled_from(OnFailure)),
    )


def stored(values: st.SearchStrategy[object]) -> st.SearchStrategy[Stored[object]]:
    return st.builds(Stored, values, st.integers(1, 9))


def of_hosts(values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, Stored[object]]]:
    return st.dictionaries(st.sampled_from(NAMES), stored(values))


RECORDS = st.builds(
    HostRecord,
    st.sampled_from(["machine-web1", "other"]),
    TOKENS,
    RELEASES,
    RELEASES,
    st.sampled_from(Result),
    live=RELEASES,
)
SLOTS = st.builds(
    Slot, TOKENS, st.just("a"), RELEASES, RELEASES, st.sampled_from(["boot", "older"]), st.sampled_from(["start", "x"])
)
VIEWS = st.builds(
    View,
    revision=st.integers(9, 12),
    wide=st.booleans(),
    goal=st.none() | st.builds(Stored, goals(), TOKENS),
    progress=st.none() | stored(st.builds(Progress, TOKENS, st.integers(0, 2))),
    paused=st.sampled_from([0, 3]),
    failures=of_hosts(st.builds(Failure, TOKENS, st.just("no"), st.booleans())),
    slots=of_hosts(SLOTS),
    hosts=of_hosts(RECORDS),
)
ROLLOUTS = st.none() | st.builds(Rollout, TOKENS, st.sampled_from(State), st.just("it crashed"))
HOSTS = st.builds(
    Me,
    st.just("web1"),
    st.just("machine-web1"),
    st.just("boot"),
    st.just("start"),
    st.just(NOW),
    RELEASES,
    ROLLOUTS,
    st.booleans(),
    TOKENS,
    TOKENS,
    ROLLOUTS,
)


@given(VIEWS, HOSTS)
def test_a_turn_writes_only_what_is_its_own(view: View, me: Me) -> None:
    act = turn(view, me)
    if not isinstance(act, Write):
        return
    assert_readable(act.transaction)
    written = {item.key for item in act.transaction.writes}
    if act.why == "roll the fleet back":
        assert keys.GOAL in written
        return
    own = {keys.slot(me.name), keys.host(me.name), keys.failure(me.name)}
    assert written <= own
    compared = {item.key for item in act.transaction.compares if isinstance(item, Unchanged)}
    assert compared & own, "what it relies on is compared"


def assert_readable(transaction: Transaction) -> None:
    """Check that etcd accepts the transaction, and that all hosts can read what it writes."""
    written = [item.key for item in transaction.writes]
    assert len(set(written)) == len(written)
    parsers: dict[str, Callable[[str, str], object]] = {
        keys.SLOTS: Slot.parse,
        keys.HOSTS: HostRecord.parse,
        keys.FAILURES: Failure.parse,
        keys.HISTORY: HistoryEntry.parse,
    }
    for item in transaction.writes:
        if isinstance(item, Delete):
            continue
        if item.key == keys.GOAL:
            assert ID.fullmatch(Goal.parse(item.value).id)
        for prefix, parse in parsers.items():
            if item.key.startswith(prefix):
                parse(item.value, item.key)


@given(VIEWS, HOSTS)
def test_a_slot_is_taken_only_in_an_open_batch(view: View, me: Me) -> None:
    act = turn(view, me)
    if not isinstance(act, Write) or act.why != "take a slot":
        return
    assert view.goal is not None
    batch = view.goal.value.batch_of(me.name)
    assert batch is not None
    assert batch <= view.open_batch
    assert not view.paused
    assert not view.halted
    assert not me.busy
    compares = set(act.transaction.compares)
    assert {Unchanged(keys.GOAL, view.token), Unchanged(keys.PAUSED, 0)} <= compares
    assert NoneSince(keys.FAILURES, view.revision) in compares


@given(VIEWS, HOSTS)
def test_a_rollout_begins_only_with_a_slot(view: View, me: Me) -> None:
    act = turn(view, me)
    if isinstance(act, Begin):
        assert act.token == view.slots[me.name].value.token
        assert act.release == view.slots[me.name].value.release
    if isinstance(act, Abort):
        assert view.goal is not None
        assert act.token == view.goal.value.of


@given(VIEWS, st.none() | st.builds(Bake, TOKENS, st.integers(0, 1), st.just(0.0)), st.sampled_from([0.0, 4.0, 5.0]))
def test_a_batch_opens_after_the_bake_and_only_by_its_stewards(view: View, bake: Bake | None, now: float) -> None:
    opening = {name: found for name in NAMES if (found := step(view, name, bake, now)).transaction is not None}
    assert len(opening) <= STEWARDS
    for name, found in opening.items():
        assert is_steward(view, name)
        assert view.goal is not None
        assert view.wide
        assert not view.paused
        assert not view.halted
        assert found.transaction is not None
        put = found.transaction.writes[0]
        assert isinstance(put, Put)
        opened = Progress.parse(put.value, put.key)
        assert (opened.token, opened.batch) == (view.token, view.open_batch + 1)
        if opened.batch and view.goal.value.bake:
            assert bake == Bake(view.token, opened.batch, 0.0)
            assert now >= view.goal.value.bake


def test_a_restarted_steward_bakes_anew() -> None:
    done = {"web1": Stored(HostRecord("machine-web1", 5, "v2", "v1", Result.SUCCEEDED), 7)}
    goal = Stored(replace(GOAL, bake=60.0), 5)
    view = View(8, True, goal, Stored(Progress(5, 0), 6), hosts=done)
    first = step(view, "web2", None, 100.0)
    assert (first.transaction, first.wake) == (None, 160.0)
    assert step(view, "web2", first.bake, 159.0).transaction is None
    assert step(view, "web2", first.bake, 160.0).transaction is not None
    assert step(view, "web2", None, 160.0).wake == 220.0
    assert step(replace(view, paused=8), "web2", first.bake, 170.0).transaction is None
    assert step(view, "web1", first.bake, 160.0).transaction is None


def test_hosts_that_are_excused_open_no_batch() -> None:
    assert stewards(GOAL, frozenset(), 0) == ("web1", "web2", "web3")
    assert stewards(GOAL, frozenset({"web2", "web3"}), 1) == ("web4",)


@given(VIEWS)
def test_a_verdict_names_each_host_and_each_state(view: View) -> None:
    found = verdict(replace(view, wide=True))
    assert sum(found.counts.values()) == len(found.hosts)
    assert set(found.hosts) >= {*view.hosts, *view.slots}
    if found.state not in (FleetState.DONE, FleetState.IDLE):
        assert found.reason
    if found.state in (FleetState.WAITING, FleetState.ABORTING, FleetState.BAKING):
        assert found.waiting_for or found.state is FleetState.BAKING
    assert all(found.hosts[name].state is HostState.ROLLING for name in view.slots if name in moving(view))


def moving(view: View) -> set[str]:
    return {
        name
        for name, slot in view.slots.items()
        if name not in view.hosts or not view.hosts[name].value.ended_for(slot.value.token)
    }


@given(VIEWS, st.sampled_from((*NAMES, "web9")))
def test_a_driver_is_refused_with_a_sentence_or_writes_what_can_be_read(view: View, host: str) -> None:
    requests: tuple[Callable[[], Transaction], ...] = (
        lambda: set_goal(view, GOAL, NOW),
        lambda: rollback_of(view, "back", NOW),
        lambda: abort_of(view, "stop", NOW),
        lambda: pause("root"),
        lambda: resume(view),
        lambda: release_slot(view, host, NOW),
        lambda: forget(view, host, NOW),
    )
    for ask in requests:
        try:
            assert_readable(ask())
        except Refused as problem:
            assert str(problem)  # noqa: PT017 - some are refused, some are not


def test_a_host_that_was_released_has_no_part_until_it_is_back() -> None:
    gone = HostRecord("machine-web2", 5, "v2", "v1", Result.RELEASED)
    view = View(hosts={"web1": Stored(HostRecord("machine-web1"), 3), "web2": Stored(gone, 6)})
    assert members(view) == {"web1": "machine-web1"}
    assert members(replace(view, alive=frozenset({"web2"}))) == {"web1": "machine-web1", "web2": "machine-web2"}


@given(VIEWS, HOSTS)
def test_a_host_that_was_forgotten_is_a_member_again_when_it_is_back(view: View, me: Me) -> None:
    try:
        transaction = forget(replace(view, alive=frozenset()), me.name, NOW)
    except Refused:
        return
    assert Unchanged(keys.alive(me.name), 0) in transaction.compares, "it may connect in this moment"
    gone = view.wrote(transaction, 20)
    assert me.name not in members(gone)
    if view.goal is None or me.name not in view.goal.value.places:
        assert me.name not in verdict(gone).hosts
    for machine in (me, replace(me, machine_id="another", rollout=None)):
        act = turn(gone, machine)
        assert isinstance(act, Write)
        assert act.why == "register again"
        back = replace(gone.wrote(act.transaction, 21), alive=frozenset({me.name}))
        assert members(back)[me.name] == machine.machine_id
        assert me.name in verdict(back).hosts


def test_a_host_that_is_there_or_is_waited_for_is_not_forgotten() -> None:
    known = {"web1": Stored(HostRecord("machine-web1"), 3)}
    for view, sentence in (
        (View(), "web1: there is no such host in the fleet"),
        (
            View(hosts=known, alive=frozenset({"web1"})),
            "web1: its agent is connected; stop deployd-fleet.service there",
        ),
        (View(hosts=known, goal=Stored(GOAL, 5)), "web1: the fleet waits for it; continue without it first"),
        (View(hosts=known, slots={"web1": Stored(Slot(4, "a", "v1", "", "", ""), 4)}), "web1: the fleet waits for it"),
    ):
        with pytest.raises(Refused) as problem:
            forget(view, "web1", NOW)
        assert str(problem.value).startswith(sentence)


def test_what_has_ended_is_not_aborted() -> None:
    view = View(goal=Stored(replace(GOAL, hosts=(), batches=()), 5))
    with pytest.raises(Refused, match="shop-v2 has ended; take it back with deployd fleet rollback"):
        abort_of(view, "stop", NOW)


def test_the_second_of_two_drivers_has_seen_another_goal() -> None:
    compares = set_goal(View(goal=Stored(GOAL, 5)), replace(GOAL, id="shop-v3"), NOW).compares
    assert compares == (Unchanged(keys.GOAL, 5), Unchanged("history/shop-v3", 0))


@pytest.mark.parametrize(
    ("view", "sentence"),
    [
        (View(), "no rollout was begun yet"),
        (View(goal=Stored(GOAL, 5), slots={"web3": Stored(Slot(4, "a", "v1", "", "", ""), 4)}), "waiting for web3, "),
        (View(goal=Stored(GOAL, 5), paused=6), "the fleet is paused; continue with deployd fleet resume"),
        (View(goal=Stored(GOAL, 5), progress=Stored(Progress(5, 0), 6)), "batch 1 of 2: waiting for web1"),
        (
            View(goal=Stored(GOAL, 5), failures={"web1": Stored(Failure(5, "exited with status 1"), 7)}),
            "web1 failed, 0 of 4 hosts are done: exited with status 1",
        ),
    ],
)
def test_a_verdict_says_why_the_fleet_stands(view: View, sentence: str) -> None:
    assert verdict(view).reason.startswith(sentence)


@pytest.mark.parametrize(
    ("result", "live", "shown"),
    [
        (Result.SUCCEEDED, "v2", ""),
        (Result.SUCCEEDED, "v3", "v3"),
        (Result.SUCCEEDED, "/srv/shop/v2", ""),
        (Result.SUCCEEDED, "", ""),
        (Result.FAILED, "v1", ""),
        (Result.FAILED, "v2", "v2"),
        (Result.RELEASED, "v3", ""),
    ],
)
def test_a_host_names_the_release_that_is_live_instead_of_that_of_the_fleet(
    result: Result, live: str, shown: str
) -> None:
    record = HostRecord("machine-web1", 5, "v2", "v1", result)
    view, me = View(goal=Stored(GOAL, 5), hosts={"web1": Stored(record, 7)}), replace(ME, live=live)
    act = turn(view, me)
    if not shown:
        assert isinstance(act, Wait)
        return
    assert isinstance(act, Write)
    other = view.wrote(act.transaction, 8)
    assert other.hosts["web1"].value == replace(record, live=shown)
    assert verdict(other).hosts["web1"].reason == f"{shown} is live there instead of {record.left}"
    assert isinstance(turn(other, me), Wait), "it is written once"
    back = turn(other, replace(me, live=record.left))
    assert isinstance(back, Write)
    assert other.wrote(back.transaction, 9).hosts["web1"].value == record


def test_a_host_that_is_out_of_the_fleet_has_no_release_of_it() -> None:
    gone = HostRecord("machine-web1", 5, "v2", "v1", Result.RELEASED, "it was gone", live="v3")
    assert verdict(View(hosts={"web1": Stored(gone, 7)})).hosts["web1"].reason == "it was gone"


@given(VIEWS, HOSTS)
def test_what_is_live_is_written_once_and_nothing_else_with_it(view: View, me: Me) -> None:
    act = turn(view, me)
    if not isinstance(act, Write) or act.why != "report the release that is live":
        return
    after = view.wrote(act.transaction, 20)
    assert replace(after.hosts[me.name].value, live="") == replace(view.hosts[me.name].value, live="")
    following = turn(after, me)
    assert not isinstance(following, Write) or following.why != act.why


def test_another_machine_of_the_same_name_does_nothing() -> None:
    act = turn(View(hosts={"web1": Stored(HostRecord("other"), 3)}), ME)
    assert isinstance(act, Wait)
    assert act.reason == (
        "another machine, with the machine ID other, is a member of the fleet as web1; give this host another name"
    )
