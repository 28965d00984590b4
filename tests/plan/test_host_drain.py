"""The steps of a drain around a rollout: properties of the pure decision."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from deployd.model.generation import Cause
from deployd.model.rollout import Phase, Rollout
from deployd.plan.host_drain import Step, View, step

NOW = 1000.0
WAIT = 5.0
ROLLOUT = Rollout("demo", 1, 2, started=0.0, since=0.0)
TIMES = st.none() | st.floats(NOW - 10, NOW)
VIEWS = st.builds(
    View,
    rollout=st.none()
    | st.builds(replace, st.just(ROLLOUT), phase=st.sampled_from(Phase), origin=st.sampled_from([None, 1])),
    cause=st.sampled_from(Cause),
    acts=st.booleans(),
    settled=st.booleans(),
    drained=TIMES,
    returned=TIMES,
)


@given(VIEWS, st.none() | st.just(WAIT))
def test_nothing_is_done_to_instances_before_load_balancers_have_noticed(view: View, wait: float | None) -> None:
    if step(view, wait, NOW) is Step.GO and view.acts and not view.settled and view.may_drain and wait is not None:
        assert view.drained is not None
        assert NOW - view.drained >= WAIT


@given(VIEWS, st.none() | st.just(WAIT))
def test_no_rollout_ends_or_pauses_while_it_drains(view: View, wait: float | None) -> None:
    over = view.settled or view.rollout is None or view.rollout.phase is Phase.PAUSED
    assert (step(view, wait, NOW) is Step.UNDRAIN) is (over and view.drained is not None)


@given(VIEWS)
def test_rollbacks_and_hosts_that_are_not_to_be_drained_never_wait(view: View) -> None:
    assert step(view, None, NOW) in (Step.GO, Step.UNDRAIN)
    if view.cause is Cause.ROLLBACK or (view.rollout is not None and view.rollout.phase is Phase.ROLLING_BACK):
        assert step(view, WAIT, NOW) in (Step.GO, Step.UNDRAIN)


@given(VIEWS)
def test_steps_lead_to_an_end(view: View) -> None:
    now = NOW
    for _ in range(4):
        match step(view, WAIT, now):
            case Step.GO:
                return
            case Step.DRAIN:
                view = replace(view, drained=now)
            case Step.UNDRAIN:
                view = replace(view, drained=None, returned=now)
            case Step.WAIT:
                now += WAIT
    raise AssertionError(view)
