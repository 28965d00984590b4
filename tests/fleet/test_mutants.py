"""The model finds what would be wrong without each rule of the protocol: otherwise it would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from random import Random

import pytest

from deployd_cli.fleet import keys, steward
from deployd_cli.fleet.record import Progress
from deployd_cli.fleet.steward import Step, is_steward, step
from deployd_cli.fleet.transaction import Delete, Transaction, Unchanged
from deployd_cli.fleet.turn import Act, Begin, Write, turn
from deployd_cli.fleet.view import View
from tests.fleet.model_host import Host
from tests.fleet.walk import walk
from tests.fleet.world import Message, Plan, World

HISTORIES = 1000
HostAct = Callable[[View, Host], Act]
Open = Callable[[View, Host], Step]


def without(transaction: Transaction, *names: str) -> Transaction:
    """Return the transaction without the comparisons of these keys and prefixes."""
    kept = (
        item for item in transaction.compares if (item.key if isinstance(item, Unchanged) else item.prefix) not in names
    )
    return replace(transaction, compares=tuple(kept))


def no_comparison(why: str, *names: str) -> HostAct:
    def act(view: View, host: Host) -> Act:
        done = turn(view, host.me)
        if isinstance(done, Write) and done.why == why:
            return replace(
                done, transaction=without(done.transaction, *(name.replace("ME", host.name) for name in names))
            )
        return done

    return act


def frees_the_slot_on_failure(view: View, host: Host) -> Act:
    done = turn(view, host.me)
    if isinstance(done, Write) and done.why == "report a failure":
        writes = (done.transaction.writes[0], Delete(keys.slot(host.name)))
        return replace(done, transaction=replace(done.transaction, writes=writes))
    return done


def gives_back_what_may_have_begun(view: View, host: Host) -> Act:
    done, slot = turn(view, host.me), view.slots.get(host.name)
    if slot is None or not (isinstance(done, Begin) or (isinstance(done, Write) and done.why == "claim the slot")):
        return done
    if slot.value.token == view.token:
        return done
    compares = (Unchanged(keys.slot(host.name), slot.revision),)
    return Write(Transaction(compares, (Delete(keys.slot(host.name)),)), "give the slot back")


def claims_nothing(view: View, host: Host) -> Act:
    done, slot = turn(view, host.me), view.slots.get(host.name)
    if slot is not None and isinstance(done, Write) and done.why == "claim the slot":
        return Begin(slot.value.token, slot.value.fleet, slot.value.release)
    return done


def claims_nothing_after_a_boot(view: View, host: Host) -> Act:
    done, slot = turn(view, host.me), view.slots.get(host.name)
    if slot is not None and isinstance(done, Write) and done.why == "claim the slot after a boot":
        return Begin(slot.value.token, slot.value.fleet, slot.value.release)
    return done


def begins_without_a_slot(view: View, host: Host) -> Act:
    done, goal = turn(view, host.me), view.goal
    if goal is not None and isinstance(done, Write) and done.why == "take a slot":
        return Begin(goal.revision, goal.value.id, goal.value.release or "v0")
    return done


def takes_before_its_batch(view: View, host: Host) -> Act:
    last = len(view.goal.value.batches) - 1 if view.goal is not None else 0
    return (
        turn(replace(view, progress=replace(view.progress, value=Progress(view.token, last))), host.me)
        if (view.progress is not None)
        else turn(view, host.me)
    )


def opens_without(key: str) -> Open:
    def opens(view: View, host: Host) -> Step:
        done = step(view, host.name, host.bake, host.clock)
        return replace(done, transaction=without(done.transaction, key)) if done.transaction is not None else done

    return opens


def opens_at_once(view: View, host: Host) -> Step:
    if view.goal is None or not is_steward(view, host.name):
        return Step()
    return Step(steward._opening(view, view.token, view.open_batch + 1))


def ignores_older_slots(view: View, host: Host) -> Step:
    if view.open_batch < 0:
        return step(replace(view, slots={}), host.name, host.bake, host.clock)
    return step(view, host.name, host.bake, host.clock)


def believes_a_narrow_view(view: View, host: Host) -> Step:
    return step(replace(view, wide=True), host.name, host.bake, host.clock)


ACTS: dict[str, HostAct] = {
    "a slot is taken whatever the goal is": no_comparison("take a slot", keys.GOAL),
    "a slot is taken although it is paused": no_comparison("take a slot", keys.PAUSED),
    "begins without a slot": begins_without_a_slot,
    "takes before its batch": takes_before_its_batch,
}
OPENS: dict[str, Open] = {
    "opens for an older goal": opens_without(keys.GOAL),
    "opens although it is paused": opens_without(keys.PAUSED),
    "opens a batch again": opens_without(keys.PROGRESS),
    "opens at once": opens_at_once,
    "ignores older slots": ignores_older_slots,
    "believes a narrow view": believes_a_narrow_view,
}


@pytest.mark.parametrize("name", ACTS)
def test_a_host_without_a_rule_is_found(name: str) -> None:
    assert_found(act=ACTS[name])


@pytest.mark.parametrize("name", OPENS)
def test_a_steward_without_a_rule_is_found(name: str) -> None:
    assert_found(open=OPENS[name])


def assert_found(**mutation: HostAct | Open) -> None:
    for seed in range(HISTORIES):
        try:
            walk(Random(seed), **mutation)
        except AssertionError:
            return
    pytest.fail(f"nothing was found in {HISTORIES} histories")


def send(world: World, what: str, host: str) -> Message:
    """Let a host act, and return what it has sent."""
    world.do((what, host))
    return world.transit[-1]


def arrive(world: World, message: Message) -> None:
    world.do(("arrive", next(index for index, item in enumerate(world.transit) if item is message)))


def watch(world: World) -> None:
    """Let all hosts see what has happened. A steward reads everything when it knows that it is one."""
    for host in world.hosts:
        for what in ("watch", "watch own", "watch", "look"):
            world.do((what, host))


def request(world: World, what: str) -> None:
    world.do(("read", 0))
    world.do((what, 0))
    watch(world)


def opened(hosts: int, batches: str, act: HostAct | None, opens: Open | None = None) -> tuple[World, tuple[str, ...]]:
    """Return a fleet whose first batch is open, and its hosts in order."""
    world = World(Plan(hosts, batches))
    if act is not None:
        world.act = act
    watch(world)
    request(world, "rollout")
    goal = world.store.everything().goal
    assert goal is not None
    arrive(world, send(world, "open", goal.value.hosts[0]))
    watch(world)
    if opens is not None:
        world.open = opens
    return world, goal.value.hosts


def rolls(world: World, host: str) -> None:
    """Let a host take its slot and begin."""
    for _ in range(2):
        arrive(world, send(world, "act", host))
        watch(world)


def arrive_after_a_kill(world: World, host: str, begin: Message) -> None:
    """Let a request arrive when its agent was killed, the goal was replaced, and the next agent has acted."""
    world.do(("kill agent", host))
    request(world, "rollout")
    arrive(world, send(world, "act", host))
    arrive(world, begin)


def killed_before_its_request_arrives(act: HostAct | None) -> None:
    world, (host,) = opened(1, "1", act)
    arrive(world, send(world, "act", host))
    watch(world)
    begin = send(world, "act", host)
    arrive_after_a_kill(world, host, begin)


def killed_before_its_slot_is_given_back(act: HostAct | None) -> None:
    world, (host,) = opened(1, "1", act)
    arrive(world, send(world, "act", host))
    request(world, "rollout")
    back = send(world, "act", host)
    world.do(("kill agent", host))
    watch(world)
    arrive(world, send(world, "act", host))
    arrive(world, back)


def killed_after_a_boot_before_its_request_arrives(act: HostAct | None) -> None:
    world, (host,) = opened(1, "1", act)
    arrive(world, send(world, "act", host))
    world.do(("power off", host))
    world.do(("power on", host))
    watch(world)
    begin = send(world, "act", host)
    if isinstance(begin.what, Transaction):
        arrive(world, begin)
        watch(world)
        begin = send(world, "act", host)
    arrive_after_a_kill(world, host, begin)


def another_host_fails(act: HostAct | None) -> None:
    world, (first, second) = opened(2, "2", act)
    rolls(world, first)
    world.do(("fail", first))
    world.do(("look", first))
    late = send(world, "act", second)
    arrive(world, send(world, "act", first))
    arrive(world, late)


def success_arrives_twice(act: HostAct | None) -> None:
    world, (host,) = opened(1, "1", act)
    rolls(world, host)
    world.do(("succeed", host))
    watch(world)
    late = send(world, "act", host)
    world.do(("deadline", host))
    arrive(world, send(world, "act", host))
    request(world, "rollout")
    arrive(world, send(world, "open", host))
    watch(world)
    rolls(world, host)
    arrive(world, late)


def the_first_host_fails(act: HostAct | None) -> None:
    world, (first, *_) = opened(3, "1,2", act)
    world.fails.add(first)
    assert world.settle().state == "halted"


@pytest.mark.parametrize(
    ("history", "mutant"),
    [
        (killed_before_its_request_arrives, gives_back_what_may_have_begun),
        (killed_before_its_slot_is_given_back, claims_nothing),
        (killed_after_a_boot_before_its_request_arrives, claims_nothing_after_a_boot),
        (another_host_fails, no_comparison("take a slot", keys.FAILURES)),
        (success_arrives_twice, no_comparison("report success", "slots/ME", "hosts/ME")),
        (the_first_host_fails, frees_the_slot_on_failure),
    ],
)
def test_a_history_needs_the_rule(history: Callable[[HostAct | None], None], mutant: HostAct) -> None:
    history(None)
    with pytest.raises(AssertionError, match=r"without a slot|halted|too many"):
        history(mutant)


@pytest.mark.parametrize("broken", [False, True])
def test_a_batch_does_not_open_after_a_release_was_taken_back(broken: bool) -> None:
    world, (first, second, _) = opened(3, "1,2", None, opens_without(keys.FAILURES) if broken else None)
    rolls(world, first)
    world.do(("succeed", first))
    watch(world)
    arrive(world, send(world, "act", first))
    watch(world)
    opening = send(world, "open", second)
    world.do(("take back", first))
    world.do(("look", first))
    arrive(world, send(world, "act", first))
    with pytest.raises(AssertionError, match="halted") if broken else nullcontext():
        arrive(world, opening)
