"""When a wave of reconnecting clients is absorbed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from deployd.plan.pacing import FEW, QUIET, REST, WINDOW, Reading, Wave, absorbed, ahead, arrived, is_wave, rate
from deployd.plan.routing import Candidate, Policy

STEP = 0.1
SIZE = 250


def readings(come: Callable[[float], float], *, until: float = 30.0, queued: int = 0, left: int = 0) -> list[Reading]:
    """Return readings over so many seconds, of which `come` says how many connections have come."""
    times = [index * STEP for index in range(round(until / STEP) + 1)]
    return [Reading(1000 + at, {5: round(come(at))}, queued if at else 0, left) for at in times]


def over(wave: Wave, found: Sequence[Reading]) -> float | None:
    """Return how long the wave lasts, None if it is not over in all readings."""
    for count in range(1, len(found) + 1):
        if absorbed(wave, found[:count]):
            return found[count - 1].at - found[0].at
    return None


@given(st.integers(FEW + 1, 10_000), st.floats(0, 0.5), st.integers(1, 100))
def test_a_wave_is_over_when_the_clients_are_back(size: int, share: float, steps: int) -> None:
    """They come all together, after a delay."""
    usual, delay = share * size, (steps - 0.5) * STEP
    found = readings(lambda at: usual * at + (size if at >= delay else 0))
    lasted = over(Wave(size, usual), found)
    assert lasted is not None
    came = lasted >= delay
    assert came or lasted >= QUIET - STEP / 2, "before they came, nothing but silence ends it"
    if came and delay < QUIET - STEP:
        assert lasted <= delay + WINDOW + 2 * STEP


@given(st.floats(0.5, 8), st.floats(0, 500))
def test_it_lasts_as_long_as_they_come_in_one_after_another(spread: float, usual: float) -> None:
    found = readings(lambda at: usual * at + SIZE * min(1.0, at / spread))
    lasted = over(Wave(SIZE, usual), found)
    assert lasted is not None
    slow = SIZE / spread * WINDOW <= usual * WINDOW + SIZE * REST
    assert slow or lasted >= 0.8 * spread


def test_clients_that_do_not_come_back_are_not_waited_for() -> None:
    lasted = over(Wave(SIZE, 10.0), readings(lambda at: 10.0 * at))
    assert lasted is not None
    assert QUIET <= lasted <= QUIET + 2 * STEP


def test_queues_and_connections_that_have_not_ended_prolong_it() -> None:
    assert over(Wave(SIZE, 0.0), readings(lambda at: SIZE if at else 0, queued=1)) is None
    assert over(Wave(SIZE, 0.0), readings(lambda at: SIZE if at else 0, left=SIZE)) is None
    assert over(Wave(SIZE, 0.0), readings(lambda at: SIZE if at else 0, left=20)) is not None


def test_twice_the_usual_rate_is_no_wave() -> None:
    assert over(Wave(SIZE, 400.0), readings(lambda at: 800.0 * at)) is not None
    assert over(Wave(SIZE, 400.0), readings(lambda at: 1000.0 * at)) is None


def test_few_connections_or_those_of_short_requests_make_no_wave() -> None:
    assert not is_wave(Wave(FEW, 0.0))
    assert is_wave(Wave(FEW + 1, 0.0))
    assert not is_wave(Wave(FEW + 1, FEW + 1))


@given(st.dictionaries(st.integers(1, 4), st.integers(0, 99)), st.dictionaries(st.integers(1, 4), st.integers(0, 99)))
def test_counts_never_go_down(before: dict[int, int], after: dict[int, int]) -> None:
    """A socket that was closed and opened again counts from 0."""
    came = arrived(Reading(1.0, before), Reading(3.0, after))
    assert 0 <= came <= sum(after.values())
    assert rate(Reading(1.0, before), Reading(3.0, after)) == came / 2
    assert rate(Reading(1.0, before), Reading(1.0, after)) == 0


candidates = st.lists(
    st.builds(Candidate, st.integers(1, 99), st.none() | st.integers(1, 4), st.just(0.0), st.just(0.0)),
    unique_by=lambda item: item.number,
)


@given(candidates, st.none() | st.integers(1, 4))
def test_during_a_wave_one_generation_gets_all(found: list[Candidate], prefer: int | None) -> None:
    first = ahead(found, Policy(prefer))
    assert bool(first) == bool(found)
    there = {item.generation for item in found}
    expected = prefer if prefer in there else max(there, key=lambda made: made or 0, default=None)
    assert first == [item for item in found if item.generation == expected]
    assert ahead(found, Policy(prefer, {1: 0.5})) == found, "a share is exact"
    assert ahead(found, Policy(prefer, shunned=frozenset({4}))) == found, "the newest may be what a rollback leaves"
