"""A preview: what it needs, what the planner does meanwhile, and that no connection of a client leads to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.errors import Refused
from deployd.model.action import Start
from deployd.model.app import App, Listen, ListenKind, Routing
from deployd.model.gate import Gate, Probe
from deployd.model.generation import Cause
from deployd.model.instance import Instance, State
from deployd.model.pace import Amount, OnFailure, Pace
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.plan.goal import Goal
from deployd.plan.planner import Verdict, World, plan
from deployd.plan.preview import preview, smoke_hold
from deployd.plan.simulation import simulate
from deployd.plan.transitions import Event, advance
from deployd.routing import Snapshot
from tests.plan.worlds import GENERATION, NOW, app, begun, goals, instances, pools, ready, stopped

PREVIEW = Hold(1, canary=True, share=0.0, preview=True, address=True)
HTTP = Gate(probe=Probe(http="/up"))
STEERED = replace(app(), routing=Routing.STEERED)
anything = settings(max_examples=100, deadline=None)


def rollout(phase: Phase = Phase.ROLLING, pause: Pause = Pause.NONE, *holds: Hold) -> Rollout:
    return Rollout("shop", 4, GENERATION, phase, pause=pause, holds=holds or (PREVIEW,), passed=frozenset({9}))


@anything
@given(goals(), pools(), st.booleans())
def test_a_preview_stops_no_old_instance_and_starts_one(goal: Goal, pool: tuple[Instance, ...], known: bool) -> None:
    """Old instances in excess of the goal, which a scaling may leave, may be stopped."""
    goal = replace(goal, hold=PREVIEW, same=frozenset())
    made = plan(goal, World(pool, frozenset(item.number for item in pool) if known else frozenset()), NOW)
    old = [
        item
        for item in pool
        if item.generation != GENERATION and item.state in (State.READY, State.STARTING, State.FAILED)
    ]
    assert len([item for item in old if item.number not in stopped(made)]) >= min(len(old), goal.instances)
    assert len(begun(made)) <= 1


def test_the_rollout_continues_with_the_instance_of_the_preview() -> None:
    pool = tuple(ready(number, 4, started=float(number)) for number in range(1, 5))
    done = simulate(Goal.of(app(4), GENERATION), pool, holds=(PREVIEW, Hold(2, canary=True)))
    assert done.verdict is Verdict.DONE
    starts = [step.action.number for step in done.steps if isinstance(step.action, Start)]
    assert isinstance(done.steps[0].action, Start)
    assert done.steps[1].action == PREVIEW
    assert len(starts) == 4
    assert starts[0] in {item.number for item in done.instances if item.generation == GENERATION}


@anything
@given(st.lists(st.integers(1, 12), unique=True, max_size=12), st.data(), st.sampled_from(Phase))
def test_no_client_is_led_to_a_preview(numbers: list[int], data: st.DataObject, phase: Phase) -> None:
    pool = tuple(data.draw(instances(number)) for number in numbers)
    snapshot = Snapshot(pool, STEERED, rollout(phase), adopted_by={3: GENERATION})
    hidden = {item.number for item in pool if item.generation in (3, GENERATION)}
    assert snapshot.previewed == hidden
    assert not hidden & set(snapshot.by_readiness(()))
    later = replace(snapshot, rollout=rollout(phase, Pause.NONE, Hold(1, canary=True)))
    assert not later.previewed


def test_a_resumed_preview_is_one_no_longer() -> None:
    held = advance(rollout(), Event.HELD, OnFailure.ROLLBACK)
    assert isinstance(held, Rollout)
    assert (held.previewed, held.shows_preview) == (GENERATION, True)
    resumed = advance(held, Event.RESUME, OnFailure.ROLLBACK)
    assert isinstance(resumed, Rollout)
    assert (resumed.previewed, resumed.passed) == (None, held.passed)
    aborted = advance(held, Event.ABORT, OnFailure.ROLLBACK)
    assert isinstance(aborted, Rollout)
    assert (aborted.previewed, aborted.shows_preview) == (GENERATION, False), "no client reaches it on its way out"


def test_what_a_preview_needs() -> None:
    assert preview(STEERED) == PREVIEW
    assert preview(replace(STEERED, listen=(*unix(), *tcp("[::1]:8080")))) == PREVIEW
    with pytest.raises(Refused, match='set routing = "steered"'):
        preview(replace(app(), routing=Routing.SHARED))
    with pytest.raises(Refused, match=r"share one socket \(it has 600 instances\)"):
        preview(replace(app(), routing=Routing.SHARED, routing_reason="it has 600 instances"))
    with pytest.raises(Refused, match="cannot be steered here"):
        preview(STEERED, steers=False)
    with pytest.raises(Refused, match="shop has no listen"):
        preview(of(()))
    for listen in (unix(), tcp("192.0.2.1:8080"), tcp("[2001:db8::1]:8080")):
        with pytest.raises(Refused, match="add one to listen"):
            preview(of(listen))
        assert preview(replace(of(listen), gate=HTTP)) == PREVIEW, "each instance has a socket for probes"


def of(listen: tuple[Listen, ...]) -> App:
    return replace(STEERED, listen=listen)


def tcp(address: str) -> tuple[Listen, ...]:
    return (Listen(ListenKind.TCP, address),)


def unix() -> tuple[Listen, ...]:
    return (Listen(ListenKind.UNIX, "/run/shop.sock"),)


SMOKE = Gate(smoke=(("bin/smoke",),))
ROLLED = {"replaces": True, "adopts": False, "steers": True}


def test_where_smoke_tests_run() -> None:
    steered = replace(STEERED, gate=SMOKE)
    alongside = replace(PREVIEW, smoke=True)
    assert smoke_hold(steered, Cause.ROLLOUT, **ROLLED) == alongside
    assert smoke_hold(STEERED, Cause.ROLLOUT, **ROLLED) is None, "without tests"
    in_place = replace(steered, pace=Pace(max_surge=Amount(0)))
    assert smoke_hold(in_place, Cause.ROLLOUT, **ROLLED) == replace(alongside, canary=False)
    open_to_clients = Hold(1, address=True, smoke=True)
    assert smoke_hold(replace(in_place, instances=1), Cause.ROLLOUT, **ROLLED) == open_to_clients
    assert smoke_hold(steered, Cause.APPLY, **{**ROLLED, "replaces": False}) == open_to_clients, "the first deployment"


def test_where_smoke_tests_have_an_address() -> None:
    steered = replace(STEERED, gate=SMOKE)
    probed = replace(SMOKE, probe=HTTP.probe)
    without = Hold(1, canary=True, smoke=True)
    shared = replace(steered, routing=Routing.SHARED)
    assert smoke_hold(shared, Cause.ROLLOUT, **ROLLED) == without
    assert smoke_hold(replace(shared, gate=probed), Cause.ROLLOUT, **ROLLED) == replace(without, address=True)
    assert smoke_hold(steered, Cause.ROLLOUT, **{**ROLLED, "steers": False}) == without
    assert smoke_hold(steered, Cause.ROLLOUT, **ROLLED, of_user=True) == without
    assert smoke_hold(replace(steered, process="worker"), Cause.ROLLOUT, **ROLLED) == without


def test_what_is_not_new_is_not_tested() -> None:
    steered, adopts = replace(STEERED, gate=SMOKE), {**ROLLED, "adopts": True}
    for cause in Cause:
        tested = cause in (Cause.APPLY, Cause.ROLLOUT, Cause.RELOAD, Cause.RESTART, Cause.RESTART_PROCESS)
        assert (smoke_hold(steered, cause, **ROLLED) is not None) == tested, cause
        assert (smoke_hold(steered, cause, **adopts) is not None) == (cause is Cause.RESTART), cause


def test_a_rollout_continues_when_its_tests_have_succeeded() -> None:
    going = rollout(Phase.ROLLING, Pause.NONE, replace(PREVIEW, smoke=True), Hold(2, canary=True))
    assert going.tests
    after = advance(going, Event.TESTED, OnFailure.ROLLBACK)
    assert isinstance(after, Rollout)
    assert (after.phase, after.holds, after.tests, after.previewed) == (Phase.ROLLING, going.holds[1:], False, None)
    assert after.passed == going.passed


def test_smoke_tests_are_no_trial_for_which_process_types_wait_for_each_other() -> None:
    tested, canary, step = replace(PREVIEW, smoke=True), Hold(2, canary=True), Hold(2)
    found = {holds: rollout(Phase.ROLLING, Pause.NONE, *holds).is_tried for holds in ((tested,), (tested, step))}
    assert not any(found.values())
    assert rollout(Phase.ROLLING, Pause.NONE, tested, canary).is_tried
    assert rollout(Phase.PAUSED, Pause.HELD, PREVIEW).is_tried
