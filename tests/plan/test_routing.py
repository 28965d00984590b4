"""Groups of instances: the newest generation first among equally busy ones, and requested shares exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployd.model.generation import Cause
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.model.steering import RANKS, Group
from deployd.plan.routing import Candidate, Distribution, Policy, asked, distribution, preferred, shunned

NOW = 1000.0

one = st.builds(
    Candidate,
    number=st.integers(1, 40),
    generation=st.none() | st.integers(1, 4),
    started=st.floats(0, NOW),
    ready_since=st.floats(0, NOW + 5),
)
candidates = st.lists(one, max_size=12, unique_by=lambda item: item.number)

policies = st.builds(
    Policy,
    prefer=st.none() | st.integers(1, 4),
    asked=st.dictionaries(st.integers(1, 4), st.floats(0, 1), max_size=2),
    warm_up=st.just(0.0) | st.floats(0.001, 2000),
    shunned=st.frozensets(st.integers(1, 4), max_size=2),
)


def old(number: int, generation: int = 1) -> Candidate:
    return Candidate(number, generation, float(number), float(number))


def new(number: int, age: float = 100.0) -> Candidate:
    return Candidate(number, 2, NOW - age, NOW - age)


def of(found: Distribution, items: list[Candidate], generation: int | None) -> float:
    return sum(found.weights[item.number] for item in items if item.generation == generation)


def members(found: Distribution) -> list[int]:
    return [number for group in found.groups for number, _ in group.members]


@given(candidates, policies)
def test_the_weights_of_groups_sum_up_to_one(items: list[Candidate], policy: Policy) -> None:
    found = distribution(items, policy, NOW)
    assert set(found.weights) == set(found.order) == {item.number for item in items}
    assert len(found.order) == len(items)
    assert len(members(found)) == len(set(members(found)))
    assert set(members(found)) <= set(found.order)
    assert all(group.weight > 0 and group.members for group in found.groups)
    assert sum(group.weight for group in found.groups) == pytest.approx(1 if items else 0)
    assert found.wake_at is None or found.wake_at >= NOW + 0.05


@given(candidates, policies)
def test_the_order_of_the_input_does_not_matter(items: list[Candidate], policy: Policy) -> None:
    assert distribution(reversed(items), policy, NOW) == distribution(items, policy, NOW)


@given(candidates, policies, st.floats(0, 1))
@example([old(1), new(2)], Policy(shunned=frozenset({1})), 0.0)
@example([old(1), new(2)], Policy(shunned=frozenset({1})), 0.25)
@example([Candidate(1, None, 0.0, 0.0), new(2)], Policy(), 0.25)
def test_requested_shares_are_exact(items: list[Candidate], policy: Policy, share: float) -> None:
    generations = {item.generation for item in items}
    found = distribution(items, replace(policy, asked={2: share}), NOW)
    if generations - {2} and 2 in generations:
        assert of(found, items, 2) == pytest.approx(share)
        mixed = [group for group in found.groups if len({_generation(items, n) == 2 for n, _ in group.members}) > 1]
        assert not mixed
    elif generations == {2}:
        assert of(found, items, 2) == pytest.approx(1)


def _generation(items: list[Candidate], number: int) -> int | None:
    return next(item.generation for item in items if item.number == number)


@given(candidates, policies)
def test_without_requests_all_are_in_one_group_with_the_newest_generation_first(
    items: list[Candidate], policy: Policy
) -> None:
    found = distribution(items, replace(policy, asked={}, warm_up=0.0), NOW)
    serving = [item for item in items if item.generation not in policy.shunned] or items
    if policy.shunned:
        serving = [
            item for item in items if item.generation is not None and item.generation == policy.prefer
        ] or serving
    assert sorted(members(found)) == sorted(item.number for item in serving)
    assert len(found.groups) == bool(items)
    ranks = dict(found.groups[0].members) if items else {}

    def place(item: Candidate) -> tuple[bool, int]:
        return item.generation is None or item.generation != policy.prefer, -(item.generation or 0)

    assert all((ranks[a.number] < ranks[b.number]) == (place(a) < place(b)) for a in serving for b in serving)


@given(candidates, policies)
def test_a_shunned_generation_gets_nothing_while_another_one_serves(items: list[Candidate], policy: Policy) -> None:
    found = distribution(items, replace(policy, asked={}), NOW)
    generations = {item.generation for item in items}
    for left in policy.shunned:
        if generations - policy.shunned and left != policy.prefer:
            assert of(found, items, left) == 0


@given(candidates, st.floats(0.1, 100), st.floats(0, 200), st.floats(0, 200))
def test_the_weight_of_an_instance_that_warms_up_only_grows(
    others: list[Candidate], warm_up: float, one: float, two: float
) -> None:
    policy = Policy(warm_up=warm_up)
    warm = [replace(item, number=item.number + 1, started=0.0, ready_since=0.0) for item in others]
    early, late = sorted((one, two))

    def weight(at: float) -> float:
        return distribution([Candidate(1, 4, NOW, NOW), *warm], policy, NOW + at).weights[1]

    assert weight(early) <= weight(late) + 1e-9


@given(candidates, policies)
def test_groups_do_not_change_before_wake_at(items: list[Candidate], policy: Policy) -> None:
    found = distribution(items, policy, NOW)
    if found.wake_at is None:
        later = distribution(items, policy, NOW + 10_000)
        assert later.weights == pytest.approx(found.weights)
    else:
        before = NOW + (found.wake_at - NOW) * 0.99 - 0.05
        assert before < NOW or distribution(items, policy, before).groups == found.groups


def test_in_a_plain_rollout_nobody_waits_for_the_newest() -> None:
    items = [old(1), old(2), new(3)]
    assert distribution(items, Policy(), NOW).groups == (Group(((3, 0), (1, 1), (2, 1)), 1.0),)
    assert distribution(items, Policy(), NOW).weights == pytest.approx(dict.fromkeys((1, 2, 3), 1 / 3))


def test_in_a_rollback_the_older_generation_comes_first() -> None:
    items = [old(1), new(2)]
    back = distribution(items, Policy(prefer=1), NOW)
    assert back.groups == (Group(((1, 0), (2, 1)), 1.0),)
    assert back.order == (1, 2)


def test_the_generation_left_by_a_rollback_gets_nothing_while_another_one_serves() -> None:
    items = [old(1), new(2)]
    left = frozenset({2})
    assert distribution(items, Policy(prefer=1, shunned=left), NOW).weights == {1: 1.0, 2: 0.0}
    assert distribution(items[1:], Policy(prefer=1, shunned=left), NOW).weights == {2: 1.0}


def test_nor_does_one_whose_rollout_was_superseded_by_the_rollback() -> None:
    """Generation 4 is a rollback from 2, requested while 3 was being rolled out."""
    good, bad, unknown = Candidate(1, 4, 9.0, 9.0), Candidate(2, 2, 5.0, 5.0), Candidate(3, 3, 7.0, 7.0)
    policy = Policy(prefer=4, shunned=frozenset({2}))
    assert distribution([good, bad, unknown], policy, NOW).weights == {1: 1.0, 2: 0.0, 3: 0.0}
    warming = replace(good, ready_since=NOW)
    cold = distribution([warming, bad, unknown], replace(policy, warm_up=10.0), NOW)
    assert cold.weights == {1: 1.0, 2: 0.0, 3: 0.0}
    assert distribution([bad, unknown], policy, NOW).weights == {2: 0.0, 3: 1.0}


def test_a_weight_set_during_a_rollback_leaves_the_rest_to_the_other_generations() -> None:
    """The generation that the rollback leaves gets the rest only if there is no third."""
    left, target, third = Candidate(1, 1, 0.0, 0.0), Candidate(2, 2, 0.0, 0.0), Candidate(3, 3, 0.0, 0.0)
    policy = Policy(prefer=2, asked={2: 0.25}, shunned=frozenset({1}))
    assert distribution([left, target], policy, NOW).weights == {1: 0.75, 2: 0.25}
    assert distribution([left, target, third], policy, NOW).weights == {1: 0.0, 2: 0.25, 3: 0.75}
    assert distribution([left, target], replace(policy, asked={1: 0.25}), NOW).weights == {1: 0.25, 2: 0.75}


def test_within_a_generation_the_first_started_comes_first_in_the_fallback_order() -> None:
    items = [Candidate(3, 2, 5.0, 5.0), Candidate(1, 2, 5.0, 5.0), Candidate(2, 2, 4.0, 4.0), old(9)]
    found = distribution(items, Policy(), NOW)
    assert found.order == (2, 1, 3, 9)
    assert found.groups == (Group(((2, 0), (1, 0), (3, 0), (9, 1)), 1.0),)


def test_more_generations_than_ranks_share_the_last_one() -> None:
    items = [Candidate(number, number, 0.0, 0.0) for number in range(1, 100)]
    ranks = [rank for _, rank in distribution(items, Policy(), NOW).groups[0].members]
    assert ranks == [min(place, RANKS - 1) for place in range(99)]


def test_a_cold_instance_has_a_group_of_its_own_and_leaves_the_rest_to_warm_ones() -> None:
    policy = Policy(warm_up=32.0)
    found = distribution([new(1, age=3.5), old(2), old(3)], policy, NOW)
    assert [[number for number, _ in group.members] for group in found.groups] == [[2, 3], [1]]
    assert found.weights == pytest.approx({1: 1 / 32, 2: 31 / 64, 3: 31 / 64}, abs=0.001)
    assert found.wake_at == pytest.approx(NOW + 0.5)
    coldest = distribution([new(1, age=0.0), new(2)], policy, NOW)
    assert coldest.weights == pytest.approx({1: 0.005, 2: 0.995})
    assert distribution([new(1, age=31.99), old(2)], policy, NOW).wake_at == pytest.approx(NOW + 0.05)
    assert distribution([new(1, age=32.0), old(2)], policy, NOW).wake_at is None


def test_cold_instances_without_others_get_everything() -> None:
    policy = Policy(warm_up=32.0)
    assert distribution([new(1, age=0.0)], policy, NOW) == Distribution((Group(((1, 0),), 1.0),), (1,))
    found = distribution([new(1, age=8.0), new(2, age=16.0)], policy, NOW)
    assert found.weights == pytest.approx({1: 1 / 3, 2: 2 / 3})


def test_a_requested_share_is_the_least_busy_within_its_generation() -> None:
    found = distribution([old(1), old(2), new(3), new(4)], Policy(asked={2: 0.05}), NOW)
    assert found.groups == (Group(((3, 0), (4, 0)), 0.05), Group(((1, 0), (2, 0)), 0.95))


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
    assert shunned(None, None) == set()
    assert shunned(rollout(), Cause.ROLLOUT) == set()
    assert shunned(rollout(), Cause.ROLLBACK) == {1}
    assert shunned(replace(rollout(), origin=None), Cause.ROLLBACK) == set()
    assert shunned(rollout(Phase.ROLLING_BACK), Cause.ROLLOUT) == {2}
