"""The order of the faults of make torture."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from tests.torture.campaign import Tally
from tests.torture.carrier import Carrier
from tests.torture.case import Case, Outcome
from tests.torture.kinds import OF_STEERED, Kind, fits
from tests.torture.line import Step
from tests.torture.schedule import IN_A_ROW, STARTED, Walk, Walks, at_random, in_turn, mixed, spread

STEPS = [
    Step(label, number)
    for number in range(1, 31)
    for label in ("wake", "call StartUnit demo@N.service", STARTED, "sqlite COMMIT", "disk sync in pins")
]
WALK = Walk(STEPS)
RICH = Walk([*STEPS, Step("call StartTransientUnit", 1)], rich=True)
SHARED = Walks(WALK, RICH)
STEPS_STEERED = [*STEPS, *(Step(label, nth) for nth in range(1, 9) for label in ("bpf update", "sock_diag listen"))]
STEERED = Walks(
    Walk(STEPS_STEERED, routing="steered"),
    Walk(STEPS_STEERED, rich=True, routing="steered"),
    Walk(STEPS[:40], routing="steered", back=True),
)
OF_SHARED = [kind for kind in Kind if kind not in OF_STEERED]


@pytest.mark.parametrize("count", [1, 2, 7, 64, 195])
def test_every_prefix_is_spread_evenly(count: int) -> None:
    order = spread(count)
    assert sorted(order) == list(range(count))
    quarter = sorted(order[: count // 4])
    assert all(after - before <= 8 for before, after in pairwise(quarter))


def test_a_round_has_every_step_and_all_kinds_equally_often() -> None:
    cases = list(islice(in_turn(WALK, 1), len(STEPS)))
    assert {case.step for case in cases} == set(STEPS)
    counts = [sum(case.kind is kind for case in cases) for kind in OF_SHARED]
    assert max(counts) - min(counts) <= 1
    assert [case.index for case in cases] == list(range(1, len(STEPS) + 1))


def test_the_first_sixty_have_every_kind() -> None:
    assert {case.kind for case in islice(in_turn(WALK, 1), 60)} == set(OF_SHARED)
    assert {case.kind for case in islice(in_turn(STEERED.plain, 1), 60)} == set(Kind)


def test_all_rounds_together_are_the_product_of_fitting_steps_and_kinds() -> None:
    begun = next(index for index, step in enumerate(STEPS) if step.label == STARTED)
    product = {(kind, step) for index, step in enumerate(STEPS) for kind in Kind if fits(kind, step, index > begun)}
    cases = [(case.kind, case.step) for case in in_turn(WALK, 1)]
    assert len(cases) == len(set(cases))
    assert set(cases) == product


def test_random_cases_are_reproducible_by_their_seed() -> None:
    assert list(islice(at_random(SHARED, 5), 50)) == list(islice(at_random(SHARED, 5), 50))
    assert list(islice(at_random(SHARED, 5), 50)) != list(islice(at_random(SHARED, 6), 50))


def test_a_step_is_formatted_and_parsed() -> None:
    step = Step("call StartUnit demo@N.service", 12)
    assert Step.parse(str(step)) == step


def test_table_counts_faults_by_kind_and_result() -> None:
    def outcome(kind: Kind, result: str, *wrong: str) -> Outcome:
        return Outcome(Case(1, kind, Step("wake", 1), Carrier(), 1), result, wrong=list(wrong))

    mask = Kind.MASK_USED

    tally = Tally([outcome(mask, "succeeded"), outcome(mask, "rolled-back", "no"), outcome(Kind.REEXEC, "succeeded")])
    lines = [line.split() for line in tally.table().splitlines()]
    assert lines[0] == ["fault", "count", "rolled-back", "succeeded", "wrong"]
    assert ["mask-used", "2", "1", "1", "1"] in lines
    assert lines[-1] == ["all", "3", "1", "2", "1"]


def test_each_walk_has_a_round_before_random_cases() -> None:
    cases = list(islice(mixed([SHARED], 1, 1000), len(STEPS) + len(RICH.steps) + 100))
    assert [case.index for case in cases] == list(range(1, len(cases) + 1))
    first, second = cases[: len(STEPS)], cases[len(STEPS) : len(STEPS) + len(RICH.steps)]
    assert {case.step for case in first} == set(STEPS)
    assert {case.step for case in second} == set(RICH.steps)
    assert all(case.carrier.hooks and case.carrier.probe for case in second)
    assert {case.carrier.ports for case in second} == {1, 2}
    assert not any(case.carrier.hooks for case in islice(mixed([SHARED], 1, 100), 100))


def test_over_a_third_is_steered_in_consecutive_cases() -> None:
    cases = list(islice(mixed([SHARED, STEERED], 1, 300), 600))
    steered = [case.carrier.steered for case in cases]
    assert 200 <= sum(steered) < 300
    assert sum(before != after for before, after in pairwise(steered)) <= 2 * len(cases) // sum(IN_A_ROW.values())
    assert not [case for case in cases if case.kind in OF_STEERED and not case.carrier.steered]


def test_steered_carriers_leave_instances_in_standby_and_thaw_them() -> None:
    back = list(islice(in_turn(STEERED.back or WALK, 1), 20))
    assert all(case.carrier.verb == "rollback" and case.carrier.standby for case in back)
    chance = list(islice(at_random(STEERED, 1), 200))
    assert {case.carrier.standby for case in chance} == {True, False}
    assert {case.carrier.share for case in chance} == {0.0, 0.1, 0.5}
    assert all(case.step.label.startswith(("bpf", "sock_diag")) for case in chance if case.kind is Kind.KERNEL_ERROR)
