"""The timeline of ready instances is read from systemd's journal; unrelated entries are ignored."""

import json
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.demo.timeline import MESSAGES, Change, Moment, Timeline, moments

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine is shared
IDS = {change: identifier for identifier, change in reversed(MESSAGES.items())}


def entry(at: float, unit: str, invocation: str | None, change: Change | None) -> str:
    fields: dict[str, object] = {"__MONOTONIC_TIMESTAMP": str(round(at * 1e6)), "UNIT": unit, "MESSAGE": "…"}
    if invocation is not None:
        fields["INVOCATION_ID"] = invocation
    if change is not None:
        fields["MESSAGE_ID"] = IDS[change]
    return json.dumps(fields)


def line(at: float, instance: int, invocation: str, change: Change) -> str:
    return entry(at, f"demo@{instance}.service", invocation, change)


SURGE = [
    line(1.0, 1, "a", Change.READY),
    line(1.1, 2, "b", Change.READY),
    line(3.0, 3, "c", Change.READY),
    line(3.1, 2, "b", Change.STOPPING),
    line(3.2, 2, "b", Change.ENDED),
    line(4.0, 2, "d", Change.READY),
    line(4.1, 1, "a", Change.STOPPING),
    line(4.2, 1, "a", Change.ENDED),
]


def test_a_surge_keeps_the_number_of_ready_instances() -> None:
    seen = Timeline.of(SURGE, "demo")
    assert seen.floor(2.0, 5.0) == 2
    assert seen.replaced(2.0, 5.0) == [2, 1]
    assert seen.started(2.0, 5.0) == [3, 2]
    assert seen.ready_at(5.0) == {"c", "d"}


def test_an_instance_is_not_ready_once_it_is_stopping() -> None:
    seen = Timeline.of([line(1, 1, "a", Change.READY), line(2, 1, "a", Change.STOPPING)], "demo")
    assert seen.floor(1.5, 1.9) == 1
    assert seen.floor(1.5, 2.1) == 0


def test_a_crashed_instance_is_missing_until_its_next_invocation_is_ready() -> None:
    died = [line(1, 1, "a", Change.READY), line(2, 1, "a", Change.ENDED), line(3, 1, "b", Change.READY)]
    seen = Timeline.of(died, "demo")
    assert seen.floor(1.5, 4.0) == 0
    assert seen.floor(3.5, 4.0) == 1
    assert seen.replaced(1.5, 4.0) == [1]


def test_an_instance_that_never_became_ready_does_not_count() -> None:
    seen = Timeline.of([line(1, 1, "a", Change.READY), line(2, 2, "x", Change.ENDED)], "demo")
    assert seen.floor(1.5, 3) == 1
    assert seen.replaced(1.5, 3) == []


def test_a_start_skipped_by_a_condition_is_ignored() -> None:
    unit = "demo@1.service"
    assert not moments([entry(1, unit, None, Change.READY), entry(1, unit, "", Change.READY)], "demo")


def test_entries_about_other_units_are_ignored() -> None:
    others = [
        entry(1, "demo.service", "a", Change.READY),
        entry(1, "demo@1.socket", "a", Change.READY),
        entry(1, "demo@one.service", "a", Change.READY),
        entry(1, "demo2@1.service", "a", Change.READY),
        entry(1, "mydemo@1.service", "a", Change.READY),
        entry(1, "demo@1.service", "a", None),
        json.dumps({"MESSAGE": "no unit", "__MONOTONIC_TIMESTAMP": "1"}),
        json.dumps({"MESSAGE_ID": IDS[Change.READY], "__MONOTONIC_TIMESTAMP": "1"}),
        "",
    ]
    assert not moments(others, "demo")


def test_before_the_first_message_nothing_is_ready() -> None:
    assert Timeline(()).floor(0, 1) == 0
    assert Timeline.of(SURGE, "demo").floor(0, 5) == 0


MOMENTS = st.lists(
    st.builds(
        Moment,
        st.integers(0, 50).map(float),
        st.integers(1, 3),
        st.sampled_from("abcd"),
        st.sampled_from(Change),
    ),
    max_size=20,
    unique_by=lambda moment: moment.at,
).map(lambda drawn: Timeline(tuple(sorted(drawn, key=lambda moment: moment.at))))


@UNHURRIED
@given(MOMENTS, st.lists(st.integers(0, 51).map(float), min_size=2, max_size=5, unique=True).map(sorted))
def test_the_floor_of_a_period_is_the_minimum_of_its_parts(timeline: Timeline, cuts: list[float]) -> None:
    parts = [timeline.floor(start, end) for start, end in pairwise(cuts)]
    assert timeline.floor(cuts[0], cuts[-1]) == min(parts)


@UNHURRIED
@given(MOMENTS, st.floats(0, 50), st.floats(0, 50))
def test_replaced_instances_were_ready_at_the_start(timeline: Timeline, one: float, other: float) -> None:
    start, end = sorted((one, other))
    gone = timeline.replaced(start, end)
    assert len(gone) <= len(timeline.ready_at(start))
    assert len(gone) >= len(timeline.ready_at(start)) - timeline.floor(start, end)
