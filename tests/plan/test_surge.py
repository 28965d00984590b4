"""How many instances a rollback may run: what is asked for, as far as memory and processors allow."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployd.model.app import App
from deployd.model.gate import Gate
from deployd.model.generation import Result
from deployd.model.instance import Instance, State
from deployd.model.pace import Amount, Pace
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World
from deployd.plan.simulation import Durations, simulate
from deployd.plan.surge import Pool, Resources, Surge, rollback_surge
from tests.plan.test_chaos import TARGET, assert_only, chaos, steps
from tests.plan.worlds import alive, amounts, app, begun, ready, resting

GIB = 1 << 30
ALL = Amount(100, percent=True)
AMPLE = Resources(100, (Pool(64 * GIB, 32 * GIB),), settled=8, own=(GIB // 8,))
some = settings(max_examples=100, deadline=None)


def of(instances: int = 8, surge: int = 1, back: Amount = ALL, timeout: float = 60.0) -> App:
    pace = Pace(max_surge=Amount(surge), rollback_surge=back)
    return app(instances, pace=pace, gate=Gate(timeout=timeout))


@pytest.mark.parametrize(
    ("settings_", "there", "surge"),
    [
        (of(), AMPLE, Surge(8)),
        (of(64), replace(AMPLE, settled=64), Surge(64)),
        (of(back=Amount(3)), AMPLE, Surge(3)),
        (of(back=Amount(1000)), AMPLE, Surge(8)),
        # Nothing has been stopped yet, or some has.
        (of(), replace(AMPLE, useful=0), Surge(1)),
        (of(), replace(AMPLE, useful=3), Surge(3)),
        (of(back=Amount(25, percent=True)), AMPLE, Surge(2)),
        (of(surge=2, back=Amount(0)), AMPLE, Surge(2)),
        # 3 GiB are available, and 1 GiB of 10 stays free.
        (of(), Resources(8, (Pool(10 * GIB, 3 * GIB),), settled=8, own=(GIB,)), Surge(2, "memory")),
        (of(surge=3), Resources(8, (Pool(10 * GIB, 3 * GIB),), settled=8, own=(GIB,)), Surge(3, "memory")),
        (of(back=Amount(2)), Resources(8, (Pool(10 * GIB, 3 * GIB),), settled=8, own=(GIB,)), Surge(2)),
        # Some are down, or boot and have yet to use their memory.
        (of(), Resources(8, (Pool(10 * GIB, 5 * GIB),), settled=6, own=(GIB,)), Surge(2, "memory")),
        # The slice is narrower than the machine.
        (of(), replace(AMPLE, pools=(*AMPLE.pools, Pool(GIB, GIB // 2))), Surge(3, "memory")),
        # The largest of its own count; of others, the one in the middle.
        (of(), Resources(8, (Pool(10 * GIB, 5 * GIB),), settled=8, own=(1, 2 * GIB)), Surge(2, "memory")),
        (of(), Resources(8, (Pool(10 * GIB, 5 * GIB),), settled=8, others=(1, GIB, 9 * GIB)), Surge(4, "memory")),
        # Without knowledge of memory a rollback is like any rollout.
        (of(), replace(AMPLE, own=()), Surge(1, "memory")),
        (of(), replace(AMPLE, pools=()), Surge(1, "memory")),
        # Two processors boot 4 instances in 20 s if each needs 10 s of one; a quarter of the timeout is left.
        (of(timeout=30.0), replace(AMPLE, processors=2, boots=(10.0, 0.1, 70.0)), Surge(4, "the gate timeout")),
        (of(timeout=60.0), replace(AMPLE, processors=2, boots=(10.0,)), Surge(8)),
        (of(64), replace(AMPLE, settled=64, processors=2, boots=(1.0,)), Surge(64)),
        (of(), replace(AMPLE, boots=(0.0,)), Surge(8)),
        # They took so long because they booted together.
        (of(timeout=30.0), replace(AMPLE, processors=2, boots=(10.0,), busy=(3.0, 5.0)), Surge(8)),
        (of(timeout=30.0), replace(AMPLE, processors=2, boots=(10.0,), busy=(9.0, 50.0)), Surge(5, "the gate timeout")),
    ],
)
def test_what_is_asked_for_memory_and_the_gate_timeout_limit_the_surge(
    settings_: App, there: Resources, surge: Surge
) -> None:
    assert rollback_surge(settings_, there) == surge


@some
@given(
    st.integers(1, 50),
    amounts(),
    amounts(),
    st.integers(-5, 60),
    st.lists(st.builds(Pool, st.integers(1, 10**6), st.integers(0, 10**6)), max_size=3),
    st.integers(0, 60),
    st.lists(st.integers(0, 10**5), max_size=4),
    st.lists(st.floats(0.0, 100.0), max_size=4),
)
@example(1, Amount(0), Amount(0), 0, [], 0, [], [5e-324])
def test_the_surge_is_at_least_the_usual_and_never_more_than_asked_for_or_fits(
    instances: int,
    usual: Amount,
    asked: Amount,
    useful: int,
    pools: list[Pool],
    settled: int,
    own: list[int],
    boots: list[float],
) -> None:
    settings_ = app(instances, pace=Pace(max_surge=usual, rollback_surge=asked))
    there = Resources(useful, tuple(pools), settled, tuple(own), processors=2, boots=tuple(boots))
    found = rollback_surge(settings_, there)
    least = usual.of(instances, round_up=True)
    assert least <= found.count <= max(least, min(instances, useful, asked.of(instances, round_up=True)))
    if found.count > least:
        more = instances + found.count - settled
        assert more <= 0 or all(more * max(own) <= pool.free for pool in pools)
    goal = Goal.of(settings_, 2).surging(settings_, found.count)
    assert goal.max_surge + goal.max_unavailable > 0
    assert found.count == 0 or goal.max_unavailable == settings_.pace.max_unavailable.of(instances, round_up=False)


def back_to_1(count: int, surge: int) -> Goal:
    settings_ = of(count)
    return Goal.of(settings_, 1, proven=True).surging(settings_, surge)


@pytest.mark.parametrize("count", [4, 64])
def test_all_good_instances_boot_at_the_same_time(count: int) -> None:
    """The last bad one is stopped after one boot, where a rollout with max_surge = 1 takes as many as instances."""
    bad = tuple(ready(number, 2, started=float(number)) for number in range(1, count + 1))
    takes = Durations(boot=lambda _number, _generation: 1.0)
    done = simulate(back_to_1(count, count), bad, durations=takes)
    assert done.verdict is Verdict.DONE
    assert (done.floor, done.ceiling) == (count, 2 * count)
    assert done.seconds == pytest.approx(1.0, abs=0.1)
    assert done.stops == tuple(range(count, 0, -1)), "the newest first"
    slow = simulate(back_to_1(count, 1), bad, durations=takes)
    assert slow.seconds == pytest.approx(count, rel=0.1)


def test_with_memory_for_some_each_bad_instance_makes_room_for_a_good_one() -> None:
    bad = tuple(ready(number, 2, started=float(number)) for number in range(1, 9))
    takes = Durations(boot=lambda _number, _generation: 1.0)
    done = simulate(back_to_1(8, 3), bad, durations=takes)
    assert (done.verdict, done.floor, done.ceiling) == (Verdict.DONE, 8, 11)
    assert done.seconds == pytest.approx(3.0, abs=0.1)


def test_standby_is_thawed_before_anything_is_started() -> None:
    bad = tuple(ready(number, 2, started=float(number)) for number in range(1, 5))
    frozen = (resting(5, 1), resting(6, 1))
    done = simulate(back_to_1(4, 4), (*bad, *frozen), passed=frozenset({5, 6}))
    assert done.verdict is Verdict.DONE
    assert (done.thawed, done.starts) == ((5, 6), {1: 2})


def test_min_ready_holds_back_the_stops_only() -> None:
    bad = tuple(ready(number, 2, started=float(number)) for number in range(1, 5))
    goal = replace(back_to_1(4, 4), min_ready=5.0)
    takes = Durations(boot=lambda _number, _generation: 1.0)
    done = simulate(goal, bad, durations=takes)
    assert (done.verdict, done.floor) == (Verdict.DONE, 4)
    assert sorted({round(step.at) for step in done.steps}) == [0, 6]


@some
@given(st.integers(0, 2**32 - 1))
def test_only_a_rollback_surges_whatever_happens(seed: int) -> None:
    """Any faults, on the way there and on the way back."""
    chance = random.Random(seed)
    run = chaos(chance, trouble=chance.randint(0, 20), crashes=False, bad=frozenset({TARGET}))
    usual, instances = run.target.max_surge, run.origin.instances
    surge = chance.randint(run.origin.max_surge, max(run.origin.max_surge, instances))
    run.target = replace(run.target, same=frozenset())
    run.origin = replace(run.origin, same=frozenset(), max_surge=surge)

    def watch(goal: Goal, world: World, made: Plan) -> None:
        canary = goal.hold.new if goal.hold is not None and goal.hold.canary else 0
        limit = goal.instances + (max(usual, canary) if goal.generation == TARGET else surge)
        assert not begun(made) or len(alive(world.instances)) + len(begun(made)) <= limit

    run.observer = watch
    assert run.run(steps(run)) is Result.ROLLED_BACK
    assert_only(run, run.origin)


@some
@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_a_rollback_from_anywhere_keeps_the_capacity_and_ends(count: int, good: int, bad: int, surge: int) -> None:
    """Of an automatic rollback, some good instances were stopped already."""
    left: list[Instance] = [ready(number, 1, started=float(number)) for number in range(1, min(good, count) + 1)]
    left += [ready(10 + number, 2, started=10.0 + number) for number in range(bad)]
    goal = back_to_1(count, surge)
    done = simulate(goal, tuple(left), passed=frozenset(item.number for item in left if item.generation == 1))
    assert done.verdict is Verdict.DONE
    assert done.floor >= min(len(left), goal.floor)
    assert done.ceiling <= max(len(left), goal.ceiling)
    assert {(item.generation, item.state) for item in alive(done.instances)} == {(1, State.READY)}
