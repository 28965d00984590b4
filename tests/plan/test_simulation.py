"""The simulated world: the basis of the dry run, and rollouts larger than on any test host."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.action import Start, Stop
from deployd.model.instance import Instance, State
from deployd.model.pace import Amount, Pace
from deployd.model.rollout import Hold
from deployd.plan.goal import Goal
from deployd.plan.planner import Verdict
from deployd.plan.simulation import Durations, Step, simulate
from tests.plan.worlds import GENERATION, NOW, alive, app, available, failed, goals, pools, ready, starting


def many(count: int) -> tuple[Instance, ...]:
    return tuple(ready(number, 1, started=float(number)) for number in range(1, count + 1))


@settings(max_examples=100, deadline=None)
@given(pools(), goals())
def test_a_good_release_succeeds_within_floor_and_ceiling(pool: tuple[Instance, ...], goal: Goal) -> None:
    left = tuple(i for i in pool if i.generation != GENERATION)
    done = simulate(goal, left, now=1000.0, limit=1000)
    assert done.verdict is Verdict.DONE
    assert [(i.generation, i.state) for i in alive(done.instances)] == [(GENERATION, State.READY)] * goal.instances
    assert done.floor >= min(goal.floor, len(available(left, goal, frozenset())))
    # Instances in standby are alive while they are thawed or stopped.
    resting = sum(item.state is State.STANDBY for item in left)
    assert done.ceiling <= max(goal.ceiling, len(alive(left))) + resting


@settings(max_examples=60, deadline=None)
@given(goals())
def test_a_bad_release_fails_and_its_rollback_succeeds(goal: Goal) -> None:
    old = tuple(ready(number, 1, started=float(number)) for number in range(1, goal.instances + 1))
    target = Goal(GENERATION, goal.instances, goal.max_surge, goal.max_unavailable, goal.order, goal.min_ready)
    bad = simulate(target, old, fate=lambda _number, generation: generation == 1, now=1000.0)
    assert bad.verdict is Verdict.FAILED
    up = frozenset(i.number for i in bad.instances if i.generation == 1)
    assert len(up) >= goal.floor
    origin = Goal(1, goal.instances, goal.max_surge, goal.max_unavailable, goal.order, goal.min_ready, proven=True)
    back = simulate(origin, bad.instances, passed=up, now=2000.0)
    assert back.verdict is Verdict.DONE
    assert {i.number: i for i in old if i.number in up}.items() <= {i.number: i for i in back.instances}.items()


def test_waiting_for_systemd_alone_ends_the_simulation_unfinished() -> None:
    stuck = simulate(Goal(2, 1), (replace(failed(1, 2), restarting=True),), passed=frozenset({1}))
    assert (stuck.verdict, stuck.steps) == (Verdict.GOING, ())


def test_a_deadline_is_not_waited_out() -> None:
    down = replace(failed(1, 2), restarting=True)
    stuck = simulate(Goal(2, 1, deadline=50.0), (down,), passed=frozenset({1}))
    assert stuck.verdict is Verdict.GOING


def test_min_ready_elapses() -> None:
    done = simulate(Goal(2, 3, min_ready=30.0), many(3))
    assert done.verdict is Verdict.DONE


def test_a_step_has_the_number_of_available_instances_after_it_began() -> None:
    done = simulate(Goal(2, 2), many(2))
    assert [step.ready for step in done.steps] == [2, 2, 2, 2]
    assert [step.ready for step in simulate(Goal(2, 2, 0, 1), many(2)).steps] == [1, 1, 1, 1]


def test_durations_add_up_and_each_step_has_its_time() -> None:
    """With a surge of 1 each replacement boots for 5 s, then an old one stops for 2 s."""
    takes = Durations(boot=lambda _number, _generation: 5.0, stop=lambda _number, _generation: 2.0)
    done = simulate(Goal(2, 3), many(3), durations=takes, now=50.0)
    assert [(type(step.action), step.at) for step in done.steps] == [
        (Start, 0.0),
        (Stop, 5.0),
        (Start, 7.0),
        (Stop, 12.0),
        (Start, 14.0),
        (Stop, 19.0),
    ]
    assert (done.seconds, done.starts, done.stops) == (21.0, {2: 3}, (3, 2, 1))
    assert [item.ready_since for item in alive(done.instances)] == [69.0, 62.0, 55.0]


def test_durations_may_differ_by_instance() -> None:
    slow = Durations(boot=lambda number, _generation: 60.0 if number == 4 else 1.0)
    done = simulate(Goal(2, 3, 2, 0), many(3), durations=slow)
    assert done.verdict is Verdict.DONE
    assert done.seconds == pytest.approx(60.0, abs=0.1)
    assert (done.floor, done.ceiling) == (3, 5)


@pytest.mark.parametrize("timeout", [0.0, 60.0])
def test_a_bad_instance_fails_after_its_duration(timeout: float) -> None:
    takes = Durations(boot=lambda _number, _generation: 5.0, fail=lambda _number, _generation: timeout)
    bad = simulate(Goal(2, 3), many(3), fate=lambda number, _generation: number != 3, durations=takes)
    assert (bad.verdict, bad.reason) == (Verdict.FAILED, "instance 3 failed")
    assert bad.seconds == pytest.approx(5.0 + timeout, abs=0.1)
    assert bad.stops == (3,)


def test_an_action_already_in_progress_takes_the_rest_of_its_time() -> None:
    takes = Durations(boot=lambda _number, _generation: 10.0, stop=lambda _number, _generation: 3.0)
    going = (starting(1, 2), replace(ready(2, 1), state=State.STOPPING))
    done = simulate(Goal(2, 1), going, durations=takes, now=NOW)
    assert (done.verdict, done.seconds) == (Verdict.DONE, 9.0)  # `starting` began a second ago


def test_min_ready_adds_to_the_duration() -> None:
    done = simulate(Goal(2, 2, min_ready=30.0), many(2))
    assert done.seconds == pytest.approx(60.0, abs=0.1)


def test_a_simulation_can_be_ended_early() -> None:
    seen: list[float] = []

    def enough(seconds: float, world: tuple[Instance, ...]) -> bool:
        seen.append(seconds)
        return sum(item.generation == 2 for item in world) == 2

    half = simulate(Goal(2, 4), many(4), until=enough)
    assert (half.verdict, half.starts) == (Verdict.GOING, {2: 2})
    assert seen == sorted(seen)


def test_one_by_one_a_number_is_reused_as_soon_as_it_is_free() -> None:
    """As on a host, where of several instances that stop together one is gone first."""
    goal = Goal(2, 4, 2, 1)
    together, apart = simulate(goal, many(4)), simulate(goal, many(4), one_by_one=True)
    assert together.stops == apart.stops == (4, 3, 2, 1)
    assert [i.number for i in alive(together.instances)] == [2, 4, 5, 6]
    assert [i.number for i in alive(apart.instances)] == [3, 4, 5, 6]
    assert (apart.verdict, apart.starts) == (Verdict.DONE, together.starts)


@settings(max_examples=60, deadline=None)
@given(pools(), goals())
def test_one_by_one_the_outcome_is_the_same(pool: tuple[Instance, ...], goal: Goal) -> None:
    left = tuple(i for i in pool if i.generation != GENERATION)
    done = simulate(goal, left, one_by_one=True, now=1000.0, limit=1000)
    assert done.verdict is Verdict.DONE
    assert done.starts == simulate(goal, left, now=1000.0, limit=1000).starts
    assert done.floor >= min(goal.floor, len(available(left, goal, frozenset())))
    # Instances in standby are alive while they are thawed or stopped.
    resting = sum(item.state is State.STANDBY for item in left)
    assert done.ceiling <= max(goal.ceiling, len(alive(left))) + resting


def pauses(steps: tuple[Step, ...]) -> list[tuple[int, Hold, int]]:
    """Return the number of starts before each pause, the pause, and the number of available instances."""
    found = []
    for index, step in enumerate(steps):
        if isinstance(step.action, Hold):
            found.append((sum(isinstance(other.action, Start) for other in steps[:index]), step.action, step.ready))
    return found


def test_a_rollout_pauses_at_its_holds_and_continues() -> None:
    holds = (Hold(1, canary=True), Hold(2), Hold(3))
    done = simulate(Goal(2, 4), many(4), holds=holds)
    assert done.verdict is Verdict.DONE
    assert pauses(done.steps) == [(1, holds[0], 5), (2, holds[1], 4), (3, holds[2], 4)]
    assert (done.starts, done.stops) == ({2: 4}, (4, 3, 2, 1))


def test_a_canary_of_several_runs_alongside_all_old_instances() -> None:
    canary = Hold(3, canary=True)
    done = simulate(Goal(2, 4), many(4), holds=(canary,))
    assert pauses(done.steps) == [(3, canary, 7)]
    assert not [step for step in done.steps[:3] if isinstance(step.action, Stop)]
    assert (done.verdict, done.ceiling) == (Verdict.DONE, 7)


@settings(max_examples=100, deadline=None)
@given(pools(), goals(), st.lists(st.integers(1, 7), unique=True, max_size=3), st.integers(0, 3))
def test_a_rollout_succeeds_with_any_holds(
    pool: tuple[Instance, ...], goal: Goal, counts: list[int], canary: int
) -> None:
    left = tuple(i for i in pool if i.generation != GENERATION)
    first = [Hold(min(canary, goal.instances), canary=True)] if canary else []
    holds = [*first, *(Hold(new) for new in sorted(counts) if canary < new < goal.instances)]
    done = simulate(goal, left, holds=holds, now=1000.0, limit=1000)
    assert done.verdict is Verdict.DONE
    assert [step.action for step in done.steps if isinstance(step.action, Hold)] == holds
    plain = simulate(goal, left, now=1000.0, limit=1000)
    assert done.starts == plain.starts


def test_good_instances_pass_their_probes() -> None:
    done = simulate(replace(Goal(2, 2, min_ready=5.0), probe_words="GET / to answer 200"), many(2))
    assert done.verdict is Verdict.DONE


@pytest.mark.parametrize(
    ("count", "pace"),
    [
        (200, Pace()),
        (200, Pace(max_surge=Amount(0), max_unavailable=Amount(25, percent=True))),
        (2000, Pace(max_surge=Amount(5, percent=True))),
        (2000, Pace(max_surge=Amount(25, percent=True), max_unavailable=Amount(25, percent=True))),
    ],
)
def test_large_pools_take_seconds(count: int, pace: Pace) -> None:
    goal = Goal.of(app(count, pace=pace), 2)
    begun = time.process_time()
    done = simulate(goal, many(count))
    assert time.process_time() - begun < 10
    assert done.verdict is Verdict.DONE
    assert done.floor >= goal.floor
    assert done.ceiling <= goal.ceiling
    stops = [step.action.number for step in done.steps if isinstance(step.action, Stop)]
    assert stops == list(range(count, 0, -1))
