"""The planner by example: these tests show what a rollout does."""

from __future__ import annotations

from dataclasses import replace

from deployd.model.action import Action, Adopt, Start, Stop, Unpin
from deployd.model.failure import GateName
from deployd.model.gate import Gate, Probe
from deployd.model.hang import Hang
from deployd.model.instance import Instance, Listener, State
from deployd.model.pace import Amount, Pace
from deployd.model.remedies import OTHER_LISTENER
from deployd.model.rollout import Hold
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan, retry
from deployd.plan.simulation import Outcome, simulate
from tests.plan.worlds import NOW, app, failed, idle, ready, starting, stopping


def actions(goal: Goal, *pool: Instance, passed: set[int] | None = None) -> tuple[Action, ...]:
    return plan(goal, World(pool, frozenset(passed or ())), NOW).actions


def steps(outcome: Outcome) -> list[str]:
    """Return the actions in short: `+5` starts instance 5, `-4` stops it, `=3` adopts it."""
    signs = {Start: "+", Stop: "-", Adopt: "=", Unpin: "~"}
    actions = [step.action for step in outcome.steps if not isinstance(step.action, Hold)]
    return [f"{signs[type(action)]}{action.number}" for action in actions]


def pool_of(generation: int, *numbers: int) -> tuple[Instance, ...]:
    return tuple(ready(number, generation, started=float(number)) for number in numbers)


def test_first_deploy() -> None:
    done = simulate(Goal(1, 3), ())
    assert steps(done) == ["+1", "+2", "+3"]
    assert done.verdict is Verdict.DONE


def test_with_a_surge_of_one_all_instances_stay_available() -> None:
    done = simulate(Goal(2, 3), pool_of(1, 1, 2, 3))
    assert steps(done) == ["+4", "-3", "+3", "-2", "+2", "-1"]
    assert (done.floor, done.ceiling, done.verdict) == (3, 4, Verdict.DONE)


def test_without_surge_instances_are_replaced_one_by_one() -> None:
    goal = Goal.of(app(3, pace=Pace(max_surge=Amount(0))), 2)
    done = simulate(goal, pool_of(1, 1, 2, 3))
    assert steps(done) == ["-3", "+3", "-2", "+2", "-1", "+1"]
    assert (done.floor, done.ceiling, done.verdict) == (2, 3, Verdict.DONE)


def test_a_quarter_of_surge_and_a_quarter_unavailable() -> None:
    pace = Pace(max_surge=Amount(25, percent=True), max_unavailable=Amount(25, percent=True))
    done = simulate(Goal.of(app(8, pace=pace), 2), pool_of(1, 1, 2, 3, 4, 5, 6, 7, 8))
    assert (done.floor, done.ceiling, done.verdict) == (6, 10, Verdict.DONE)
    assert steps(done)[:4] == ["-8", "-7", "+9", "+10"]


def test_no_instance_stops_until_its_replacement_is_ready() -> None:
    old = pool_of(1, 1, 2)
    assert actions(Goal(2, 2), *old) == (Start(3, 2),)
    assert actions(Goal(2, 2), *old, starting(3, 2)) == ()
    assert actions(Goal(2, 2), *old, ready(3, 2)) == (Stop(2, 1),)


def test_min_ready_is_waited_for() -> None:
    goal = Goal(2, 2, min_ready=10.0)
    world = World((*pool_of(1, 1, 2), ready(3, 2, started=NOW - 4)))
    waiting = plan(goal, world, NOW)
    assert (waiting.actions, waiting.wake_at, waiting.passed) == ((), NOW + 6, frozenset())
    assert plan(goal, world, NOW + 5.99).actions == ()
    assert plan(goal, world, NOW + 6).actions == (Stop(2, 1),)
    assert plan(replace(goal, deadline=NOW + 60), world, NOW).wake_at == NOW + 6, "the sooner of the two"


def test_wrong_answers_fail_the_gate_long_before_its_timeout() -> None:
    gate = Gate(probe=Probe(http="/_status"))
    goal = Goal.of(app(2, gate=gate), 2)

    def at(count: int, since: float, goal: Goal = goal) -> Plan:
        item = replace(
            ready(3, 2, started=NOW - 10), probe_error="answered 500", wrong_answers=count, wrong_since=since
        )
        return plan(goal, World((*pool_of(1, 1, 2), item)), NOW)

    assert at(5, NOW - 2).verdict is Verdict.FAILED
    assert at(5, NOW - 2).reason == "instance 3 failed its probe 5 times in a row: answered 500"
    assert at(4, NOW - 2).verdict is Verdict.GOING
    assert (at(5, NOW - 0.5).verdict, at(5, NOW - 0.5).wake_at) == (Verdict.GOING, NOW + 1.5)
    never = Goal.of(app(2, gate=Gate(probe=Probe(http="/_status", fail_after=0))), 2)
    assert at(1000, NOW - 9, never).verdict is Verdict.GOING
    command = Goal.of(app(2, gate=Gate(timeout=12.0, probe=Probe(command=("check",)))), 2)
    assert at(1000, NOW - 5, command).verdict is Verdict.GOING, "exit statuses are used to wait"
    assert at(1000, NOW - 6, command).verdict is Verdict.FAILED


def test_an_instance_passes_only_with_the_listener_that_it_was_passed() -> None:
    old, new = pool_of(1, 1, 2), ready(3, 2, started=NOW - 4)
    unseen = plan(Goal(2, 2), World((*old, replace(new, listener=Listener.UNSEEN))), NOW)
    assert (unseen.verdict, unseen.actions) == (Verdict.GOING, ())
    elsewhere = replace(new, listener=Listener.MISSING, listens=("127.0.0.1:8000",))
    for passed in ((), {3}):
        made = plan(Goal(2, 2), World((*old, elsewhere), frozenset(passed)), NOW)
        assert (made.verdict, made.culprit) == (Verdict.FAILED, 3)
        assert made.reason == (
            "instance 3 sent READY=1 but listens on 127.0.0.1:8000 and not on the socket that systemd passes to it"
            f"; {OTHER_LISTENER}"
        )
    closed = replace(new, listener=Listener.MISSING)
    made = plan(Goal(2, 2, gate="exec"), World((*old, closed)), NOW)
    assert made.reason == "instance 3 has closed the socket that systemd passes to it"
    # What served before is rolled back to, whatever it listens on.
    assert plan(Goal(2, 2, proven=True), World((*old, elsewhere)), NOW).actions == (Stop(2, 1),)


def test_an_instance_without_its_listener_is_replaced_instead_of_adopted() -> None:
    whole, deaf = ready(1, 1), replace(ready(2, 1), listener=Listener.MISSING)
    made = actions(Goal(2, 2, same=frozenset({1})), whole, deaf)
    assert made == (Adopt(1, 2, 1), Start(3, 2))


def test_a_crash_within_min_ready_fails_the_gate() -> None:
    goal = Goal(2, 2, min_ready=10.0)
    for crashed in (failed(3, 2), starting(3, 2, restarts=1), ready(3, 2, started=NOW - 1, restarts=1)):
        made = plan(goal, World((*pool_of(1, 1, 2), crashed)), NOW)
        assert (made.verdict, made.culprit, made.actions) == (Verdict.FAILED, 3, ())


def test_an_instance_that_passed_may_crash_but_not_repeatedly() -> None:
    old = ready(1, 1)
    fallen = World((old, ready(2, 2), replace(failed(3, 2), restarting=True)), frozenset({2, 3}))
    waits = plan(Goal(2, 2), fallen, NOW)
    assert (waits.verdict, waits.actions) == (Verdict.GOING, ())
    hopeless = plan(Goal(2, 2), World((old, ready(2, 2), failed(3, 2, restarts=4)), frozenset({2, 3})), NOW)
    assert (hopeless.verdict, hopeless.reason) == (Verdict.FAILED, "instance 3 keeps crashing: exited with 1")
    assert hopeless.passed == {2}


def test_an_instance_that_passed_and_is_not_restarted_is_started_again() -> None:
    """It was stopped by request before systemd reported the end of its start job."""
    gone = replace(failed(3, 2), refused=True, detail="was not started: it ended, or was stopped, at once")
    made = plan(Goal(2, 2), World((ready(1, 1), ready(2, 2), gone), frozenset({2, 3})), NOW)
    assert (made.verdict, made.actions) == (Verdict.GOING, (Stop(3, 2, "failed"),))


def test_a_rollback_stops_bad_instances_first_and_keeps_healthy_ones() -> None:
    """Generation 2 was cancelled half-way and kept instances 1 and 2 of generation 1; generation 3 is bad.

    An oldest-first restart would stop the healthy instances before the bad ones. The rollback stops the newest
    generation first, adopts identical processes, and keeps instances 1 and 2.
    """
    healthy = (ready(1, 1, started=10), ready(2, 1, started=20))
    half_way = (ready(3, 2, started=30), ready(4, 2, started=40))
    rollout = Goal(3, 4)
    bad = simulate(rollout, (*healthy, *half_way), fate=lambda _number, generation: generation != 3)
    assert (steps(bad), bad.verdict, bad.reason) == (["+5"], Verdict.FAILED, "instance 5 failed")

    rollback = Goal(1, 4, proven=True)
    back = simulate(rollback, bad.instances, passed=frozenset({1, 2}))
    assert steps(back) == ["-5", "+5", "-4", "+4", "-3"]
    assert not {1, 2} & {step.action.number for step in back.steps if not isinstance(step.action, Hold)}
    assert [i for i in back.instances if i.number in (1, 2)] == list(healthy)
    assert (back.floor, back.verdict) == (4, Verdict.DONE)

    # If generation 2 ran an identical process to 1, only the bad instance would be stopped.
    adopted = simulate(replace(rollback, same=frozenset({2})), bad.instances, passed=frozenset({1, 2}))
    assert steps(adopted) == ["=3", "=4", "-5"]


def test_bad_instances_stop_newest_first() -> None:
    """All instances of generation 3 became ready, but it is rolled back by request."""
    pool = (ready(1, 1, 10), ready(2, 2, 20), ready(3, 3, 30), ready(4, 3, 40))
    back = simulate(Goal(1, 4, proven=True), pool, passed=frozenset({1}))
    assert [a for a in steps(back) if a.startswith("-")] == ["-4", "-3", "-2"]


def test_scaling_starts_or_stops_only_the_difference() -> None:
    up = simulate(Goal(2, 4, same=frozenset({1}), proven=True), pool_of(1, 1, 2))
    assert steps(up) == ["=1", "=2", "+3", "+4"]
    down = simulate(Goal(2, 1, same=frozenset({1}), proven=True), pool_of(1, 1, 2, 3))
    assert steps(down) == ["=1", "-3", "-2"]


def test_old_crashes_of_an_adopted_instance_do_not_count() -> None:
    veteran = ready(1, 1, restarts=17)
    made = plan(Goal(2, 1, same=frozenset({1})), World((veteran,)), NOW)
    assert (made.actions, made.passed) == ((Adopt(1, 2, 1),), frozenset({1}))
    relabelled = World((replace(veteran, generation=2),), made.passed)
    assert plan(Goal(2, 1, same=frozenset({1})), relabelled, NOW).verdict is Verdict.DONE


def test_only_ready_instances_are_adopted() -> None:
    """A starting one is waited for; a failed one is replaced."""
    goal = Goal(2, 2, same=frozenset({1}))
    assert actions(goal, ready(1, 1), starting(2, 1)) == (Adopt(1, 2, 1),)
    assert actions(goal, ready(1, 2), failed(2, 1), passed={1}) == (Start(3, 2),)
    assert actions(goal, ready(1, 2), failed(2, 1), ready(3, 2), passed={1}) == (Stop(2, 1),)


def test_an_old_instance_in_a_crash_loop_does_not_block() -> None:
    """Instance 2 would be the first to stop, but it serves; 1 does not, and stops out of order."""
    for down in (failed(1, 1), starting(1, 1, restarts=8)):
        assert actions(Goal(2, 2), ready(2, 1, started=9), down, ready(3, 2)) == (Stop(1, 1, _why(down)),)


def _why(item: Instance) -> str:
    return "failed" if item.detail else "replaced"


def test_a_slow_stop_is_waited_for_within_the_ceiling() -> None:
    assert actions(Goal(2, 2), ready(1, 1), stopping(2, 1), ready(3, 2)) == ()
    assert actions(Goal(2, 2), ready(1, 1), ready(3, 2), idle(2, None)) == (Start(2, 2),)


def test_a_pin_without_a_process_is_removed_or_used() -> None:
    """Otherwise the instance would start at the next boot."""
    assert actions(Goal(2, 1), ready(1, 2), idle(2, 1), idle(3, 2)) == (Unpin(2), Unpin(3))
    assert actions(Goal(2, 2), ready(1, 2), idle(2, 1), idle(3, 2)) == (Start(3, 2), Unpin(2))
    # 4 waits until the ceiling lets it start.
    assert actions(Goal(2, 2), *pool_of(1, 1, 2), ready(3, 2), idle(4, 2)) == (Stop(2, 1),)


def test_a_serving_surplus_instance_stays_until_others_serve() -> None:
    """Instance 2 was restarted a moment ago, and 1 is not ready yet."""
    goal = Goal(2, 1, min_ready=10.0)
    young = ready(2, 2, started=NOW - 1)
    assert actions(goal, starting(1, 2), young) == (Stop(1, 2, "surplus"),)
    assert actions(goal, ready(1, 2, started=NOW - 2), young) == ()


def test_the_deadline_does_not_cover_the_stops_of_old_instances() -> None:
    goal = Goal(2, 1, deadline=NOW - 1)
    assert plan(goal, World((ready(1, 1),)), NOW).reason == "the rollout's deadline passed with 0 of 1 instances ready"
    assert plan(goal, World((stopping(1, 1), ready(2, 2))), NOW).verdict is Verdict.GOING
    assert plan(goal, World((ready(2, 2),)), NOW).verdict is Verdict.DONE


def test_rolling_back_a_first_deployment_stops_everything() -> None:
    back = simulate(Goal(0, 0), (ready(1, 1), failed(2, 1), starting(3, 1)))
    assert back.verdict is Verdict.DONE
    assert not any(item.generation for item in back.instances)


def test_resuming_after_a_failure_begins_with_a_retry() -> None:
    world = World((ready(1, 1), failed(2, 2)))
    assert plan(Goal(2, 1), world, NOW).verdict is Verdict.FAILED
    assert retry(Goal(2, 1), world, NOW) == (Stop(2, 2, "failed"),)
    # A stopping instance is not judged, however often it crashed.
    again = simulate(Goal(2, 1), (ready(1, 1), replace(stopping(2, 2), restarts=2)))
    assert again.verdict is Verdict.DONE


def test_a_failure_keeps_what_other_instances_have_passed() -> None:
    made = plan(Goal(2, 3), World((ready(3, 2, restarts=1), failed(1, 2)), frozenset({3})), NOW)
    assert (made.culprit, made.passed) == (1, frozenset({3}))


def test_several_instances_that_crash_after_they_passed_fail_the_release() -> None:
    goal = Goal(generation=2, instances=4)
    why = "exited with status 5 after it was ready"
    fallen = [Instance(number, 2, State.FAILED, detail=why) for number in (5, 6)]
    serving = pool_of(1, 1, 2, 3)
    one = plan(goal, World((*serving, fallen[0]), frozenset({5})), now=10)
    assert one.verdict is Verdict.GOING
    two = plan(goal, World((*serving, *fallen), frozenset({5, 6})), now=10)
    assert two.verdict is Verdict.FAILED
    assert two.reason == f"instances 5, 6 had passed the gate and crashed: {why}"
    proven = plan(replace(goal, proven=True), World((*serving, *fallen), frozenset({5, 6})), now=10)
    assert proven.verdict is Verdict.GOING


def test_masked_numbers_are_not_started_but_a_running_one_counts() -> None:
    goal = Goal(2, 3, masked=frozenset({2, 4}))
    done = simulate(goal, (*pool_of(1, 1, 3), ready(2, 2)))
    assert done.verdict is Verdict.DONE
    assert "+2" not in steps(done)
    assert "+4" not in steps(done)


def test_a_number_that_fails_for_a_reason_of_its_own_is_not_the_release() -> None:
    """Also in a rollback, which would be stranded."""
    for proven in (False, True):
        goal = Goal(2, 2, special=frozenset({3}), proven=proven)
        world = World((*pool_of(1, 1, 2), failed(3, 2)), frozenset())
        made = plan(goal, world, NOW)
        assert (made.verdict, made.actions) == (Verdict.GOING, (Stop(3, 2, "failed"),))
        assert [item.instance for item in made.unfit] == [3]
        another = plan(replace(goal, masked=frozenset({3})), World(pool_of(1, 1, 2), frozenset()), NOW)
        assert another.actions == (Start(4, 2),)


def test_a_bad_release_fails_although_a_number_has_drop_ins() -> None:
    goal = Goal(2, 2, special=frozenset({3}), masked=frozenset({3}))
    made = plan(goal, World((*pool_of(1, 1, 2), failed(4, 2)), frozenset()), NOW)
    assert (made.verdict, made.culprit, made.unfit) == (Verdict.FAILED, 4, ())


def test_the_pin_of_a_masked_number_is_removed_and_another_is_used() -> None:
    goal = Goal(2, 2, masked=frozenset({2}))
    assert set(actions(goal, ready(1, 2), idle(2, 2), passed={1})) == {Start(3, 2), Unpin(2)}


def test_a_new_instance_that_hangs_fails_the_rollout_also_after_it_has_passed() -> None:
    hung = replace(ready(2, 2), hang=Hang(3, NOW - 31.0))
    for passed in (frozenset[int](), frozenset({2})):
        made = plan(Goal(2, 2, watchdog=30.0), World((ready(1, 1), hung), passed), NOW)
        assert made.failure is not None
        assert (made.verdict, made.failure.gate, made.failure.waited) == (Verdict.FAILED, GateName.WATCHDOG, 31.0)
        assert made.failure.reason.startswith("instance 2 has not answered any of its 3 requests for 31 s, ")
        assert made.failure.waited_for == "an answer to any request within 30 s"
    back = plan(Goal(2, 2, proven=True), World((ready(1, 1), hung)), NOW)
    assert back.failure is None  # there is nothing better to return to
