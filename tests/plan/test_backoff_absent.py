"""An instance whose release is not there yet, because a file system is mounted late, waits for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployd.model.instance import Instance, State
from deployd.plan.backoff import CHDIR, Judgement, Patience, Step, forgiven, judge

PATIENCE = Patience()
MOST = Patience().longest_absent


def ended(number: int, status: int) -> Instance:
    """Return an instance whose process has just exited, the `number`-th one."""
    return Instance(1, 7, State.FAILED, invocation_id=str(number), exit_status=status, restarting=True, restarts=number)


def waits(times: int, now: float) -> Judgement:
    """Return the last judgement of an instance that was tried so often without its release."""
    known = forgiven(Instance(1, 7, State.READY, invocation_id="0"))
    for number in range(1, times + 1):
        found = judge(known, ended(number, CHDIR), now, PATIENCE)
        known, now = found.crashes, now + MOST
    return found


@given(st.integers(1, 40), st.integers(0, 10**6))
def test_it_is_kept_stopped_from_the_first_time_on_for_a_bounded_delay(times: int, now: int) -> None:
    found = waits(times, float(now))
    assert found.step is Step.STOP
    assert found.crashes.absent
    assert found.wake_at is not None
    assert 0 < found.wake_at - (now + (times - 1) * MOST) <= MOST
    assert found.crashes.sentence(0.0).startswith("waits for its release")


@given(st.integers(1, 40))
def test_nothing_is_held_against_it_once_its_release_is_there(times: int) -> None:
    known = waits(times, 0.0).crashes
    assert judge(known, Instance(1, 7, State.READY, ready_since=9.0), 10.0, PATIENCE).crashes.count == 0
    other = judge(known, ended(times + 1, 1), 10.0, PATIENCE)
    assert (other.step, other.crashes.count, other.crashes.absent) == (Step.NOTHING, 1, False)
