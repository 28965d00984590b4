"""Which generation's UNIX socket new connections go to."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from deployd.plan.routing import Candidate, Policy
from deployd.plan.unix_routing import leader


def serving(counts: Mapping[int, int]) -> tuple[list[Candidate], dict[int, int]]:
    """Return so many candidates of each generation, which all have a socket of their own, and these sockets."""
    generations = [generation for generation, count in counts.items() for _ in range(count)]
    candidates = [Candidate(number, made, number, number) for number, made in enumerate(generations, 1)]
    return candidates, {item.number: item.generation or 0 for item in candidates}


def lead(
    current: int | None, counts: Mapping[int, int], policy: Policy | None = None, *, at_once: bool = False
) -> int | None:
    return leader(*serving(counts), current, policy or Policy(), at_once=at_once)


def test_the_new_generation_leads_when_as_many_of_its_instances_serve() -> None:
    assert lead(None, {1: 1}) == 1
    assert lead(1, {1: 4, 2: 0}) == 1
    assert lead(1, {1: 3, 2: 1}) == 1
    assert lead(1, {1: 2, 2: 2}) == 2
    assert lead(1, {2: 4}) == 2


def test_it_keeps_the_lead_though_an_instance_crashes() -> None:
    assert lead(2, {1: 2, 2: 1}) == 2
    assert lead(2, {1: 2, 2: 0}) == 1


def test_what_starts_with_the_machine_keeps_the_lead() -> None:
    candidates, sockets = serving({2: 1})
    sockets |= {7: 1, 8: 1}
    assert leader(candidates, sockets, 1, Policy(), starting=[7, 8]) == 1
    assert leader(candidates, sockets, 1, Policy(), starting=[7]) == 2, "as many serve"
    assert leader(candidates, sockets, 1, Policy(), starting=[7, 8], at_once=True) == 2


def test_without_an_instance_that_serves_nothing_moves() -> None:
    assert lead(2, {}) == 2
    assert lead(None, {}) is None


def test_a_generation_that_must_be_left_is_left_at_once() -> None:
    assert lead(1, {1: 4, 2: 1}, at_once=True) == 2
    assert lead(2, {1: 1, 2: 3}, Policy(prefer=1, shunned=frozenset({2})), at_once=True) == 1


def test_the_larger_weight_leads() -> None:
    assert lead(1, {1: 2, 2: 2}, Policy(2, {2: 0.49})) == 1
    assert lead(1, {1: 2, 2: 2}, Policy(2, {2: 0.5})) == 2
    assert lead(2, {1: 3, 2: 1}, Policy(2, {2: 0.25})) == 1
    assert lead(2, {1: 3, 2: 1}, Policy(2, {1: 0.1})) == 2
    assert lead(1, {1: 3, 2: 0}, Policy(2, {2: 0.9})) == 1


def test_a_generation_that_adopts_instances_keeps_their_socket() -> None:
    candidates = [Candidate(1, 2, 1, 1), Candidate(2, 2, 2, 2), Candidate(3, 1, 3, 3)]
    assert leader(candidates, {1: 1, 2: 1, 3: 1}, 1, Policy(2)) == 1


def test_instances_without_a_unix_socket_are_left_out() -> None:
    candidates, _ = serving({1: 3, 2: 1})
    assert leader(candidates, {4: 2}, None, Policy()) == 2


counts = st.dictionaries(st.integers(1, 5), st.integers(0, 4), max_size=4)
policies = st.builds(
    Policy,
    st.none() | st.integers(1, 5),
    st.dictionaries(st.integers(1, 5), st.floats(0, 1), max_size=2),
    shunned=st.frozensets(st.integers(1, 5), max_size=2),
    warm_up=st.floats(0, 60),
)


@given(counts, policies, st.none() | st.integers(1, 5), st.booleans())
def test_it_is_a_generation_that_serves_and_stays_there(
    there: dict[int, int], policy: Policy, current: int | None, at_once: bool
) -> None:
    found = lead(current, there, policy, at_once=at_once)
    if any(there.values()):
        assert found is not None
        assert there.get(found)
    else:
        assert found == current
    assert lead(found, there, policy, at_once=at_once) == found
