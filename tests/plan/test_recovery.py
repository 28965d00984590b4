"""The rollback of a bad release: healthy instances are kept, and only missing ones are started."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.action import Adopt
from deployd.model.instance import Instance, State
from deployd.model.pace import Order
from deployd.plan.goal import Goal
from deployd.plan.planner import Verdict
from deployd.plan.simulation import Durations, Outcome, simulate
from tests.bench.oldest_first import oldest_first
from tests.bench.recovery import BACK, BAD, CANCELLED, GOOD, Recovery, Scenario, compare, main
from tests.plan.worlds import alive, goals

DURATIONS = Durations(boot=lambda _number, _generation: 5.0, stop=lambda _number, _generation: 1.0)


@st.composite
def mixtures(draw: st.DrawFn, most: int = 12) -> tuple[Instance, ...]:
    """A pool during a rollout: generations in any order of numbers and starts; all good instances are ready."""
    generations = draw(st.lists(st.sampled_from((GOOD, GOOD, CANCELLED, BAD)), min_size=1, max_size=most))
    starts = draw(st.permutations(range(1, len(generations) + 1)))
    pool = []
    for number, (generation, start) in enumerate(zip(generations, starts, strict=True), 1):
        states = (State.READY, State.READY, State.STARTING, State.FAILED, State.STOPPING)
        state = State.READY if generation == GOOD else draw(st.sampled_from(states))
        since = start + 0.5 if state is State.READY else 0.0
        pool.append(Instance(number, generation, state, started=float(start), ready_since=since))
    return tuple(pool)


def rollbacks(pace: Goal) -> dict[str, Goal]:
    """`deployd rollback --to 1`, which makes a new generation; and the rollback of a failed or aborted rollout."""
    goal = replace(pace, generation=BACK, order=Order.NEWEST_OLD_FIRST, same=frozenset({GOOD}), proven=False)
    return {"request": goal, "automatic": replace(goal, generation=GOOD, same=frozenset(), proven=True)}


def roll_back(goal: Goal, pool: tuple[Instance, ...]) -> Outcome:
    trusted = frozenset(item.number for item in pool if item.generation == goal.generation)
    return simulate(goal, pool, passed=trusted, durations=DURATIONS, now=1000.0)


@pytest.mark.parametrize("kind", ["request", "automatic"])
@settings(max_examples=100, deadline=None)
@given(mixtures(), goals(12, standby=False))
def test_a_rollback_stops_no_healthy_instance_and_starts_only_missing_ones(
    kind: str, pool: tuple[Instance, ...], pace: Goal
) -> None:
    goal = rollbacks(pace)[kind]
    healthy = {item.number: item for item in pool if item.generation == GOOD}
    back = roll_back(goal, pool)
    assert back.verdict is Verdict.DONE
    assert dict(back.starts) == ({goal.generation: lacking} if (lacking := goal.instances - len(healthy)) > 0 else {})
    # Only surplus ones are stopped, if the app was scaled down meanwhile.
    gone = [number for number in back.stops if number in healthy]
    assert len(gone) == max(0, len(healthy) - goal.instances)
    after = {item.number: item for item in alive(back.instances)}
    for number, item in healthy.items():
        if number not in gone:
            assert (after[number].started, after[number].generation) == (item.started, goal.generation)
    adopted = [step.action.number for step in back.steps if isinstance(step.action, Adopt)]
    assert sorted({*adopted} | {*gone}) == (sorted(healthy) if kind == "request" else sorted(gone))


@pytest.mark.parametrize("kind", ["request", "automatic"])
@settings(max_examples=100, deadline=None)
@given(mixtures(), goals(12, standby=False))
def test_a_rollback_stops_the_newest_bad_instances_first(kind: str, pool: tuple[Instance, ...], pace: Goal) -> None:
    serving = [item for item in pool if item.state is State.READY and item.generation != GOOD]
    expected = [item.number for item in sorted(serving, key=lambda item: (-(item.generation or 0), -item.started))]
    # Instances that were starting become ready meanwhile, and are stopped in order then.
    back = roll_back(rollbacks(pace)[kind], pool)
    assert [number for number in back.stops if number in expected] == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 3), st.integers(0, 3))
def test_the_reference_planner_differs_in_order_and_adoption_only(count: int, surge: int, unavailable: int) -> None:
    """The comparison is fair: the oldest-first planner has the same pace as deployd's."""
    pace = (surge, min(unavailable, count) or (0 if surge else 1))
    pool = tuple(
        Instance(n, GOOD + n % 3, State.READY, started=float(n), ready_since=float(n)) for n in range(1, count)
    )
    pool += (Instance(count, BAD, State.READY, started=float(count), ready_since=float(count)),)
    planned = simulate(Goal(BACK, count, *pace), pool, durations=DURATIONS)
    classic = simulate(Goal(BACK, count, *pace), pool, durations=DURATIONS, planner=oldest_first)
    assert classic.verdict is Verdict.DONE
    assert (classic.floor, classic.ceiling, classic.starts) == (planned.floor, planned.ceiling, planned.starts)
    assert classic.seconds == pytest.approx(planned.seconds, abs=0.1)
    assert classic.stops == tuple(range(1, count + 1))


def test_the_scenario_of_200_instances() -> None:
    """With 6 s per instance an oldest-first restart takes 20 minutes until the last bad instance has stopped."""
    found = compare(Scenario())
    assert found == {
        "deployd": Recovery(300.0, 600.0, 7600.0, 100, 0, 150, 200),
        "oldest first, no adoption": Recovery(1200.0, 1200.0, 52600.0, 200, 100, 150, 200),
    }


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(instances=7, surge=0, unavailable=1),
        Scenario(instances=40, surge=4, unavailable=4),
        Scenario(instances=50, share=0.6),
        Scenario(instances=10, cancelled=1.0, share=1.0),
        Scenario(instances=8, stop=0.0, boot=0.0),
    ],
    ids=str,
)
def test_deployd_is_no_worse_in_any_scenario(scenario: Scenario) -> None:
    ours, theirs = compare(scenario).values()
    assert ours.no_bad_left <= theirs.no_bad_left
    assert ours.done <= theirs.done
    assert ours.starts <= theirs.starts == scenario.instances
    assert ours.healthy_stopped == 0
    assert ours.least_healthy >= theirs.least_healthy


def test_the_pool_of_a_scenario_has_healthy_and_bad_instances() -> None:
    pool = Scenario(instances=20, share=0.25).before()
    parts = [[item.started for item in alive(pool) if item.generation == n] for n in (GOOD, CANCELLED, BAD)]
    assert [len(part) for part in parts] == [10, 5, 5]
    assert max(parts[0]) < min(parts[1])
    assert max(parts[1]) < min(parts[2])


def test_the_output_of_the_command_is_reproducible(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for _ in range(2):
        assert main(["--instances", "20", "--boot", "3", "--share", "25%"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "20 instances: 10 healthy of generation 1" in printed[0]
    assert main(["--instances", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scenario"]["instances"] == 20
    assert found["recoveries"]["deployd"]["starts"] == 10


@pytest.mark.parametrize("argv", [["--share", "0"], ["--instances", "1"], ["--surge", "0"], ["--boot", "-1"]])
def test_an_impossible_scenario_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(argv)
    assert refused.value.code == 2
    assert capsys.readouterr().err
