"""Canaries, pauses and probes in arbitrary worlds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deployd.errors import DeploydError, Refused
from deployd.model.action import Start, Stop
from deployd.model.app import Listen, ListenKind, Routing
from deployd.model.failure import GateName
from deployd.model.gate import Gate, Probe
from deployd.model.instance import Instance, State
from deployd.model.pace import Amount, Pace
from deployd.model.rollout import Hold
from deployd.plan import judge
from deployd.plan.goal import Goal, canary, holds
from deployd.plan.planner import Verdict, World, plan
from deployd.plan.simulation import simulate
from tests.plan.worlds import GENERATION, NOW, alive, app, begun, goals, pools, ready, stopped

anything = settings(max_examples=100, deadline=None)
some_holds = st.builds(Hold, st.integers(1, 8), st.booleans())


@anything
@given(goals(), pools(), some_holds, st.booleans())
def test_a_hold_limits_new_instances_and_keeps_old_ones(
    goal: Goal, pool: tuple[Instance, ...], hold: Hold, known: bool
) -> None:
    goal = replace(goal, hold=hold)
    made = plan(goal, World(pool, frozenset(item.number for item in pool) if known else frozenset()), NOW)
    new = [item for item in alive(pool) if judge.belongs(item, goal, NOW)]
    staying = [item for item in alive(pool) if item not in new and item.state is not State.STOPPING]
    if begun(made):
        assert len(new) + len(begun(made)) <= min(hold.new, goal.instances)
    left = [item for item in staying if item.number not in stopped(made)]
    assert len(left) >= min(len(staying), goal.kept)
    if made.verdict is Verdict.HELD:
        assert not made.actions
        assert len(new) >= min(hold.new, goal.instances)
        assert {item.number for item in new} <= made.passed
        assert plan(replace(goal, deadline=NOW - 1), World(pool, made.passed), NOW).verdict is Verdict.HELD
    assert made.verdict is not Verdict.DONE


@given(st.integers(1, 8), st.integers(0, 3), st.integers(0, 3), st.integers(1, 8), st.booleans())
def test_a_hold_is_reached_with_exactly_its_starts_and_stops(
    instances: int, surge: int, unavailable: int, new: int, canary: bool
) -> None:
    assume(new < instances)
    pace = Pace(max_surge=Amount(surge), max_unavailable=Amount(unavailable))
    goal = Goal.of(app(instances, pace=pace), 2)
    pool = tuple(ready(number, 1, started=float(number)) for number in range(1, instances + 1))
    done = simulate(goal, pool, holds=(Hold(new, canary),))
    did = [type(step.action) for step in done.steps]
    until = did[: did.index(Hold)]
    assert (until.count(Start), until.count(Stop)) == (new, 0 if canary else new)
    assert done.verdict is Verdict.DONE
    assert done.ceiling <= max(goal.ceiling, replace(goal, hold=Hold(new, canary)).ceiling)
    assert done.floor >= goal.floor


def test_the_holds_of_a_rollout() -> None:
    eight = app(8, pace=Pace(pause_after=(Amount(50, percent=True), Amount(1), Amount(100, percent=True))))
    assert holds(eight) == (Hold(1), Hold(4))
    assert holds(eight, canary(eight, 2)) == (Hold(2, canary=True), Hold(4))
    assert holds(app(8)) == ()


def test_percentages_of_a_steered_app_are_shares_of_connections() -> None:
    pauses = (*(Amount(value, percent=True) for value in (50, 5, 10, 25, 100)), Amount(2))
    eight = replace(app(8, pace=Pace(pause_after=pauses)), routing=Routing.STEERED)
    later = (Hold(1, share=0.1), Hold(2, share=0.25), Hold(4, share=0.5))
    assert holds(eight) == (Hold(1, share=0.05), *later)
    first = canary(eight, share=0.05)
    assert first == Hold(1, canary=True, share=0.05)
    assert holds(eight, first) == (first, *later)
    assert canary(replace(eight, instances=100), share=0.07) == Hold(7, canary=True, share=0.07)
    assert canary(eight, share=0.13) == Hold(2, canary=True, share=0.13)
    assert canary(eight, share=1.0) == Hold(8, canary=True, share=1.0)
    assert canary(eight) is None


def test_an_app_with_unix_addresses_alone_cannot_wait_at_a_canary() -> None:
    unix = Listen(ListenKind.UNIX, "/run/shop.sock")
    steered = replace(app(8, pace=Pace(pause_after=(Amount(50, percent=True),))), routing=Routing.STEERED)
    alone, both = replace(steered, listen=(unix,)), replace(steered, listen=(Listen(ListenKind.TCP, "8080"), unix))
    for options in ({"count": 1}, {"share": 0.5}):
        with pytest.raises(Refused, match="shop listens on UNIX addresses only"):
            canary(alone, **options)
    assert canary(alone) is None
    assert canary(alone, 1, steers=False) == Hold(1, canary=True)
    assert holds(alone) == (Hold(4),)
    assert canary(both, share=0.5) == Hold(4, canary=True, share=0.5)
    assert holds(both) == (Hold(4, share=0.5),)


@pytest.mark.parametrize(
    ("count", "share", "says"),
    [
        (9, 0.0, "a canary of 9: must be from 1 to 8, the number of instances of shop"),
        (-1, 0.0, "a canary of -1: must be from 1 to 8"),
        (1, 0.5, "a canary is a number of instances or a share of new connections, not both"),
        (0, 1.01, "a canary of 101 %: must be above 0 % and at most 100 %"),
        (0, float("nan"), "a canary of nan %"),
        (0, 0.05, "shop shares one socket, for which the kernel distributes connections: use --canary N to start N"),
    ],
)
def test_invalid_canaries(count: int, share: float, says: str) -> None:
    with pytest.raises(DeploydError) as caught:
        canary(app(8), count, share)
    assert str(caught.value).startswith(says)


def test_a_canary_that_keeps_crashing_fails_during_its_pause() -> None:
    goal = Goal(2, 2, hold=Hold(1, canary=True))
    old = (ready(1, 1), ready(2, 1))
    canary = Instance(3, 2, State.FAILED, restarts=4, detail="exited with status 1 after it was ready")
    made = plan(goal, World((*old, canary), frozenset({3})), NOW)
    assert made.verdict is Verdict.FAILED
    assert made.failure is not None
    assert made.failure.gate is GateName.STAY_UP


# Probes.

PROBED = Goal(2, 1, gate_timeout=10.0, probe_words="GET /_status to answer 200")


def new(probed_since: float = 0.0, error: str = "", ready_since: float = NOW - 1) -> Instance:
    return Instance(
        2, 2, State.READY, NOW - 2, ready_since, probed_since=probed_since, probe_error=error, invocation_id="a"
    )


def verdict(goal: Goal, *pool: Instance) -> tuple[Verdict, frozenset[int], float | None]:
    made = plan(goal, World(pool), NOW)
    return made.verdict, made.passed, made.wake_at


def test_an_instance_with_a_probe_must_pass_it_to_count() -> None:
    old = ready(1, 1)
    assert plan(PROBED, World((old, new())), NOW).actions == ()
    assert verdict(PROBED, old, new()) == (Verdict.GOING, frozenset(), NOW + 9)
    assert plan(PROBED, World((old, new(NOW - 0.5))), NOW).actions == (Stop(1, 1),)


def test_a_probe_that_is_not_passed_in_time_fails_the_gate() -> None:
    made = plan(PROBED, World((ready(1, 1), new(error="answered 503", ready_since=NOW - 10))), NOW)
    assert made.verdict is Verdict.FAILED
    assert made.failure is not None
    assert made.failure.reason == "instance 2 did not pass its probe within 10 s: answered 503"
    assert (made.failure.gate, made.failure.waited) == (GateName.PROBE, 10.0)


def test_an_instance_never_probed_is_not_late() -> None:
    """After a restart of the daemon the timeout may be over before the first probe."""
    old, unasked = ready(1, 1), new(ready_since=NOW - 100)
    assert verdict(PROBED, old, unasked) == (Verdict.GOING, frozenset(), None)
    assert judge.to_probe(PROBED, (old, unasked), frozenset(), NOW) == [unasked]
    assert verdict(PROBED, old, replace(unasked, probed_since=NOW))[1] == {2}


def test_min_ready_counts_from_the_probe_and_a_failed_one_ends_it() -> None:
    goal = replace(PROBED, min_ready=5.0)
    assert verdict(goal, ready(1, 1), new(NOW - 2)) == (Verdict.GOING, frozenset(), NOW + 3)
    lost = plan(goal, World((ready(1, 1), new(NOW - 2, "answered 500"))), NOW)
    assert lost.reason == "instance 2 failed its probe within min_ready: answered 500"
    # An instance that has passed is not probed any more.
    assert plan(goal, World((ready(1, 1), new(NOW - 2, "answered 500")), frozenset({2})), NOW).passed == {2}


def test_an_instance_to_be_adopted_must_pass_its_probe() -> None:
    goal = replace(PROBED, same=frozenset({1}))
    assert plan(goal, World((ready(1, 1, started=NOW - 1),)), NOW).actions == ()
    assert judge.to_probe(goal, (ready(1, 1, started=NOW - 1),), frozenset(), NOW)
    # However long it has been ready. If its probe fails, it is replaced like an old instance.
    old = ready(1, 1)
    assert plan(goal, World((old,)), NOW).actions == ()
    assert judge.to_probe(goal, (old,), frozenset(), NOW)
    assert plan(goal, World((replace(old, probe_error="answered 503"),)), NOW).actions == (Start(2, 2),)


@anything
@given(goals(), pools(), st.floats(0, 2000), st.sampled_from(("", "answered 503")))
def test_no_instance_passes_without_its_probe(goal: Goal, pool: tuple[Instance, ...], since: float, error: str) -> None:
    goal = replace(goal, probe_words="GET / to answer 200")
    asked = tuple(replace(item, probed_since=since if item.number % 2 else 0.0, probe_error=error) for item in pool)
    made = plan(goal, World(asked), NOW)
    for item in asked:
        if item.number in made.passed:
            assert item.probed_since
            assert item.probed_since + goal.min_ready <= NOW


def test_the_description_of_a_probe() -> None:
    http = Goal.of(app(1, gate=Gate(probe=Probe(http="/_status"))), GENERATION)
    assert http.probe_words == "GET /_status to answer 200 within 60 s"
    command = Goal.of(app(1, gate=Gate(probe=Probe(command=("./check", "-v"), expect=0))), GENERATION)
    assert command.probe_words == "the command ./check to exit with 0 within 60 s"
