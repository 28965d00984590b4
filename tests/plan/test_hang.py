"""Which instances hang, and when to look again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployd.model.hang import Hang
from deployd.model.steering import Load
from deployd.plan.hang import hanging, next_look, silent, suspects

NOW = 1000.0
LIMIT = 30.0
READY = {1: 0.0}

ages = st.floats(0, 200)
loads = st.dictionaries(
    st.integers(1, 5),
    st.builds(Load, in_flight=st.integers(0, 3), open=st.integers(0, 5), progress=st.floats(0, NOW)),
)
times = st.dictionaries(st.integers(1, 5), st.floats(0, NOW))
unread = st.dictionaries(st.integers(1, 5), st.lists(ages, max_size=3))


def busy(silent_for: float, in_flight: int = 3) -> dict[int, Load]:
    return {1: Load(in_flight=in_flight, open=5, progress=NOW - silent_for)}


def test_one_that_answers_nobody_and_leaves_data_unread_hangs() -> None:
    assert hanging(busy(31), READY, {1: [2.0, 30.5]}, LIMIT, NOW) == {1: Hang(3, NOW - 31)}


def test_one_that_has_answered_anybody_does_not() -> None:
    """A WebSocket without answers is in flight all the time."""
    assert not hanging(busy(1), READY, {1: [40.0]}, LIMIT, NOW)


def test_a_long_request_or_a_client_that_expects_no_answer_is_no_hang() -> None:
    assert suspects(busy(3600), READY, LIMIT, NOW) == {1}
    assert not hanging(busy(3600), READY, {}, LIMIT, NOW)
    assert not hanging(busy(3600), READY, {1: [29.9]}, LIMIT, NOW)


def test_without_requests_an_instance_is_idle() -> None:
    assert not hanging(busy(3600, in_flight=0), READY, {1: [40.0]}, LIMIT, NOW)
    assert silent(Load(progress=1.0), NOW) == 0


def test_requests_that_came_before_it_was_ready_wait_since_then() -> None:
    assert not hanging(busy(60), {1: NOW - 5}, {1: [59.0]}, LIMIT, NOW)
    assert hanging(busy(60), {1: NOW - 31}, {1: [59.0]}, LIMIT, NOW) == {1: Hang(3, NOW - 31)}


def test_the_sentence_has_what_it_does_not_answer() -> None:
    several = "has not answered any of its 3 requests for 12 s, and does not read what clients send"
    assert Hang(3, 88.0).words(100.4) == several
    assert Hang(1, 88.0).words(100.0) == "has not answered its request for 12 s, and does not read what clients send"


@given(loads, times, unread, st.floats(0.1, 100))
def test_it_is_late_and_has_unread_data(
    found: dict[int, Load], ready: dict[int, float], left: dict[int, list[float]], limit: float
) -> None:
    late = suspects(found, ready, limit, NOW)
    for number, hang in hanging(found, ready, left, limit, NOW).items():
        assert number in late
        assert max(left[number]) >= limit
        assert found[number].in_flight == hang.in_flight > 0
        assert NOW - hang.since >= limit


@given(loads, times, unread, st.floats(0.1, 100), st.floats(0, 1))
def test_no_instance_begins_to_hang_before_the_next_look(
    found: dict[int, Load], ready: dict[int, float], left: dict[int, list[float]], limit: float, part: float
) -> None:
    at = next_look(found, ready, left, limit, NOW)
    assert NOW < at <= NOW + limit
    earlier = NOW + (at - NOW) * part * 0.999
    older = {number: [age + earlier - NOW for age in each] for number, each in left.items()}
    assert hanging(found, ready, older, limit, earlier).keys() == hanging(found, ready, left, limit, NOW).keys()


@given(st.floats(0, 29.9), st.floats(0.1, 60))
def test_one_that_hangs_from_the_next_request_on_is_found_after_the_limit(since: float, limit: float) -> None:
    """However long before the last look was."""
    at, began = NOW, NOW + min(since, limit * 0.99)
    while True:
        load = Load(in_flight=at >= began, progress=began if at >= began else 0.0)
        left = {1: [at - began]} if suspects({1: load}, READY, limit, at) else {}
        if hanging({1: load}, READY, left, limit, at):
            break
        at = max(at + 1e-6, next_look({1: load}, READY, left, limit, at))
    assert at - began - limit < 1e-3
