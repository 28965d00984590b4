"""Shares of new connections: the newest generation first, requested shares exactly, and overflow to older ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployd.model.generation import Cause
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.plan.routing import Candidate, Policy, Shares, asked, preferred, shares, shunned

NOW = 1000.0
LIMIT = 16


def candidates(most_queue: int = 40) -> st.SearchStrategy[list[Candidate]]:
    one = st.builds(
        Candidate,
        number=st.integers(1, 40),
        generation=st.none() | st.integers(1, 4),
        started=st.floats(0, NOW),
        ready_since=st.floats(0, NOW + 5),
        queue=st.integers(0, most_queue),
    )
    return st.lists(one, max_size=12, unique_by=lambda item: item.number)


policies = st.builds(
    Policy,
    prefer=st.none() | st.integers(1, 4),
    asked=st.dictionaries(st.integers(1, 4), st.floats(0, 1), max_size=2),
    spill_over=st.integers(0, 30),
    warm_up=st.just(0.0) | st.floats(0.001, 2000),
    shunned=st.none() | st.integers(1, 4),
)


def old(number: int, queue: int = 0, generation: int = 1) -> Candidate:
    return Candidate(number, generation, float(number), float(number), queue)


def new(number: int, queue: int = 0, age: float = 100.0) -> Candidate:
    return Candidate(number, 2, NOW - age, NOW - age, queue)


def of(found: Shares, items: list[Candidate], generation: int | None) -> float:
    return sum(found.shares[item.number] for item in items if item.generation == generation)


@given(candidates(), policies)
def test_all_candidates_have_shares_that_sum_up_to_one(items: list[Candidate], policy: Policy) -> None:
    found = shares(items, policy, NOW)
    assert set(found.shares) == set(found.order) == {item.number for item in items}
    assert len(found.order) == len(items)
    assert all(share >= 0 for share in found.shares.values())
    assert sum(found.shares.values()) == pytest.approx(1 if items else 0)
    assert found.wake_at is None or found.wake_at >= NOW + 0.05


@given(candidates(), policies)
def test_the_order_of_the_input_does_not_matter(items: list[Candidate], policy: Policy) -> None:
    assert shares(reversed(items), policy, NOW) == shares(items, policy, NOW)


@given(candidates(), policies, st.floats(0, 1))
@example([Candidate(1, 1, 0.0, 0.0), Candidate(2, 2, 0.0, 0.0)], Policy(shunned=1), 0.0)
@example([Candidate(1, 1, 0.0, 0.0), Candidate(2, 2, 0.0, 0.0)], Policy(shunned=1), 0.25)
@example([Candidate(1, None, 0.0, 0.0), Candidate(2, 2, 0.0, 0.0)], Policy(shunned=None), 0.25)
def test_requested_shares_are_exact(items: list[Candidate], policy: Policy, share: float) -> None:
    generations = {item.generation for item in items}
    found = shares(items, replace(policy, asked={2: share}), NOW)
    if generations - {2} and 2 in generations:
        assert of(found, items, 2) == pytest.approx(share)
        assert len({found.shares[item.number] for item in items if item.generation == 2}) == 1
    elif generations == {2}:
        assert of(found, items, 2) == pytest.approx(1)


@given(candidates(), policies)
def test_an_older_generation_gets_nothing_while_the_newest_keeps_up(items: list[Candidate], policy: Policy) -> None:
    found = shares(items, replace(policy, asked={}, warm_up=0.0, shunned=None), NOW)
    if not items:
        return
    first = min(items, key=lambda item: (item.generation != policy.prefer, -(item.generation or 0))).generation
    if policy.prefer is None:
        first = max(items, key=lambda item: item.generation or 0).generation
    if any(item.queue <= policy.spill_over for item in items if item.generation == first):
        assert of(found, items, first) == pytest.approx(1)


@given(candidates(), st.floats(0.1, 100), st.floats(0, 200), st.floats(0, 200))
def test_the_share_of_an_instance_that_warms_up_only_grows(
    others: list[Candidate], warm_up: float, one: float, two: float
) -> None:
    policy = Policy(warm_up=warm_up)
    warm = [replace(item, number=item.number + 1, started=0.0, ready_since=0.0, queue=0) for item in others]
    early, late = sorted((one, two))

    def share(at: float) -> float:
        cold = Candidate(1, 4, NOW, NOW)
        return shares([cold, *warm], policy, NOW + at).shares[1]

    assert share(early) <= share(late) + 1e-9


@given(candidates(most_queue=0), policies)
def test_shares_do_not_change_before_wake_at(items: list[Candidate], policy: Policy) -> None:
    found = shares(items, policy, NOW)
    if found.wake_at is None:
        assert shares(items, policy, NOW + 10_000).shares == pytest.approx(found.shares)


def test_in_a_rollback_the_older_generation_comes_first() -> None:
    items = [old(1), new(2)]
    assert shares(items, Policy(), NOW).shares == {1: 0, 2: 1}
    back = shares(items, Policy(prefer=1), NOW)
    assert back.shares == {1: 1, 2: 0}
    assert back.order == (1, 2)


def test_the_generation_left_by_a_rollback_gets_no_overflow() -> None:
    items = [Candidate(1, 1, 0.0, 0.0, queue=100), Candidate(2, 2, 5.0, 5.0)]
    assert shares(items, Policy(prefer=1), NOW).shares == {1: 0.0, 2: 1.0}
    assert shares(items, Policy(prefer=1, shunned=2), NOW).shares == {1: 1.0, 2: 0.0}
    assert shares(items[1:], Policy(prefer=1, shunned=2), NOW).shares == {2: 1.0}


def test_nor_does_one_whose_rollout_was_superseded_by_the_rollback() -> None:
    """Generation 4 is a rollback from 2, requested while 3 was being rolled out."""
    good, bad, unknown = Candidate(1, 4, 9.0, 9.0, queue=100), Candidate(2, 2, 5.0, 5.0), Candidate(3, 3, 7.0, 7.0)
    policy = Policy(prefer=4, shunned=2)
    assert shares([good, bad, unknown], policy, NOW).shares == {1: 1.0, 2: 0.0, 3: 0.0}
    warming = replace(good, queue=0, ready_since=NOW)
    assert shares([warming, bad, unknown], replace(policy, warm_up=10.0), NOW).shares == {1: 1.0, 2: 0.0, 3: 0.0}
    assert shares([bad, unknown], policy, NOW).shares == {2: 0.0, 3: 1.0}


def test_a_weight_set_during_a_rollback_leaves_the_rest_to_the_other_generations() -> None:
    """The generation that the rollback leaves gets the rest only if there is no third."""
    left, target, third = Candidate(1, 1, 0.0, 0.0), Candidate(2, 2, 0.0, 0.0), Candidate(3, 3, 0.0, 0.0)
    policy = Policy(prefer=2, asked={2: 0.25}, shunned=1)
    assert shares([left, target], policy, NOW).shares == {1: 0.75, 2: 0.25}
    assert shares([left, target, third], policy, NOW).shares == {1: 0.0, 2: 0.25, 3: 0.75}
    assert shares([left, target], replace(policy, asked={1: 0.25}), NOW).shares == {1: 0.25, 2: 0.75}


def test_within_a_generation_the_first_started_comes_first() -> None:
    items = [Candidate(3, 2, 5.0, 5.0, 1), Candidate(1, 2, 5.0, 5.0, 2), Candidate(2, 2, 4.0, 4.0), old(9)]
    assert shares(items, Policy(), NOW).order == (2, 3, 1, 9)


def test_the_least_busy_get_more_if_there_are_other_generations() -> None:
    found = shares([new(1, 0), new(2, LIMIT), new(3, LIMIT + 1), old(4)], Policy(), NOW)
    assert found.queues
    assert found.shares == pytest.approx({1: 17 / 18, 2: 1 / 18, 3: 0, 4: 0})


def test_a_single_generation_gets_equal_shares() -> None:
    found = shares([old(1, 3), old(2)], Policy(), NOW)
    assert found == Shares({1: 0.5, 2: 0.5}, (1, 2))


def test_instances_over_the_limit_get_nothing_while_an_older_generation_has_room() -> None:
    busy = [new(1, LIMIT + 1), new(2, 200)]
    assert shares([*busy, old(3), old(4)], Policy(), NOW).shares == pytest.approx({1: 0, 2: 0, 3: 0.5, 4: 0.5})
    three = [*busy, Candidate(3, 1, 0.0, 0.0, 99), Candidate(4, None, 0.0, 0.0)]
    assert shares(three, Policy(), NOW).shares == pytest.approx({1: 0, 2: 0, 3: 0, 4: 1})
    assert shares([*busy, old(3, 17)], Policy(), NOW).shares == pytest.approx(dict.fromkeys((1, 2, 3), 1 / 3))


def test_a_cold_instance_leaves_the_rest_to_warm_and_older_ones() -> None:
    policy = Policy(warm_up=10.0)
    found = shares([new(1, age=1.0), old(2), old(3)], policy, NOW)
    assert found.shares == pytest.approx({1: 0.1, 2: 0.45, 3: 0.45})
    assert found.wake_at == pytest.approx(NOW + 0.2)
    with_a_warm_one = shares([new(1, age=0.0), new(2), old(3)], policy, NOW)
    assert with_a_warm_one.shares == pytest.approx({1: 0.005, 2: 0.5 + 0.2475, 3: 0.2475})
    assert shares([new(1, age=9.99), old(2)], policy, NOW).wake_at == pytest.approx(NOW + 0.05)
    assert shares([new(1, age=10.0), old(2)], policy, NOW).wake_at is None


def test_cold_instances_without_others_get_everything() -> None:
    policy = Policy(warm_up=10.0)
    assert shares([new(1, age=0.0)], policy, NOW) == Shares({1: 1.0}, (1,))
    assert shares([new(1, age=0.0), new(2, age=1.0)], policy, NOW).shares == pytest.approx({1: 1 / 11, 2: 10 / 11})


def rollout(phase: Phase = Phase.ROLLING, pause: Pause = Pause.NONE, *holds: Hold) -> Rollout:
    return Rollout("shop", 1, 2, phase, pause=pause, holds=holds)


CANARY = Hold(1, canary=True, share=0.05)


@pytest.mark.parametrize(
    ("under_way", "serving", "expected"),
    [
        (None, {1: 4}, {}),
        (rollout(), {1: 3, 2: 1}, {}),
        (rollout(Phase.ROLLING, Pause.NONE, CANARY), {1: 4}, {}),
        (rollout(Phase.ROLLING, Pause.NONE, CANARY), {1: 4, 2: 1}, {2: 0.05}),
        (rollout(Phase.PAUSED, Pause.HELD, CANARY), {1: 4, 2: 1}, {2: 0.05}),
        (rollout(Phase.PAUSED, Pause.REQUESTED, CANARY), {1: 4, 2: 1}, {2: 0.05}),
        (rollout(Phase.PAUSED, Pause.HELD, Hold(1, canary=True)), {1: 4, 2: 1}, {2: 0.2}),
        (rollout(Phase.ROLLING, Pause.NONE, Hold(2, share=0.5)), {1: 4, 2: 1}, {2: 0.25}),
        (rollout(Phase.PAUSED, Pause.HELD, Hold(2, share=0.5)), {1: 2, 2: 2}, {2: 0.5}),
        (rollout(Phase.ROLLING_BACK, Pause.NONE, CANARY), {1: 4, 2: 1}, {}),
        (rollout(Phase.PAUSED, Pause.STRANDED, CANARY), {1: 4, 2: 1}, {}),
        (replace(rollout(Phase.PAUSED, Pause.HELD, CANARY), weight=(1, 0.7)), {1: 4, 2: 1}, {1: 0.7}),
        (replace(rollout(), weight=(2, 0.1)), {1: 4}, {2: 0.1}),
        (replace(rollout(Phase.ROLLING_BACK), weight=(2, 0.1)), {1: 4, 2: 1}, {}),
    ],
)
def test_shares_requested_by_a_rollout(
    under_way: Rollout | None, serving: Mapping[int, int], expected: Mapping[int, float]
) -> None:
    assert asked(under_way, 4, serving) == pytest.approx(expected)


def test_the_target_of_a_rollout_or_rollback_comes_first() -> None:
    assert preferred(None) is None
    assert preferred(rollout()) == 2
    assert preferred(rollout(Phase.PAUSED, Pause.FAILED)) == 2
    assert preferred(rollout(Phase.ROLLING_BACK)) == 1
    assert preferred(rollout(Phase.PAUSED, Pause.STRANDED)) == 1


def test_a_rollback_shuns_the_bad_generation() -> None:
    assert shunned(None, None) is None
    assert shunned(rollout(), Cause.ROLLOUT) is None
    assert shunned(rollout(), Cause.ROLLBACK) == 1
    assert shunned(rollout(Phase.ROLLING_BACK), Cause.ROLLOUT) == 2
