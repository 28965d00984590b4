"""The record of a load: it counts each request once in any windows, and never understates an outage."""

import io
import math
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.load.record import TIMED, Kind, Mark, Outcome, Record, Request
from tests.load.table import render, rows, steady_state

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine is shared
TIMES = st.integers(min_value=0, max_value=10_000).map(lambda ms: ms / 1000)
SPENT = st.integers(min_value=0, max_value=2_000).map(lambda ms: ms / 1000)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    start, waited, took = draw(TIMES), draw(SPENT), draw(SPENT)
    return Request(
        start,
        start + waited,
        start + waited + took,
        draw(st.sampled_from(Outcome)),
        draw(st.sampled_from(Kind)),
        draw(st.sampled_from([None, 200, 500])),
        draw(st.none() | st.integers(1, 5)),
        draw(st.sampled_from([None, "1", "2.0", 'ü"\n'])),
        draw(st.none() | st.integers(1, 5)),
        draw(st.none() | st.integers(1, 2**22)),
        draw(st.integers(1, 9)),
    )


RECORDS = st.lists(requests(), max_size=30).map(lambda drawn: Record.of(drawn, 0.0, 10.0))


def answered(*ends: float, start: float = 0.0, end: float = 10.0, marks: tuple[Mark, ...] = ()) -> Record:
    """Return a record of responses at these times, each to a request that was due 1 ms before."""
    oks = [Request(at - 0.001, at - 0.001, at, Outcome.OK, Kind.FRESH, 200, 1) for at in ends]
    return Record.of(oks, start, end, marks)


@UNHURRIED
@given(RECORDS, st.lists(TIMES, max_size=5))
def test_adjacent_windows_count_each_request_once(record: Record, cuts: list[float]) -> None:
    edges = [0.0, *sorted(cuts), 10.001]
    windows = [record.window(a, b) for a, b in pairwise(edges)]
    assert [request for window in windows for request in window.requests] == list(record.requests)
    assert sum(len(window.failed) for window in windows) == len(record.failed)


@UNHURRIED
@given(RECORDS)
def test_every_request_has_one_outcome(record: Record) -> None:
    outcomes = record.by_outcome()
    assert outcomes.total() == len(record)
    assert len(record.failed) == len(record) - outcomes[Outcome.OK]
    assert sum(len(record.of_kind(kind)) for kind in Kind) == len(record)


@UNHURRIED
@given(RECORDS, st.floats(0, 100))
def test_a_percentile_is_a_latency_within_which_that_many_stay(record: Record, p: float) -> None:
    latencies = record.latencies()
    value = record.percentile(p)
    if not latencies:
        assert math.isnan(value)
        return
    assert value in latencies
    assert sum(latency <= value for latency in latencies) >= p / 100 * len(latencies)
    assert record.slowest is not None
    assert record.percentile(100) == record.slowest.latency == latencies[-1]


@UNHURRIED
@given(RECORDS, TIMES, TIMES)
def test_the_gap_of_a_window_is_no_longer_than_the_window_nor_than_the_whole_gap(
    record: Record, one: float, other: float
) -> None:
    a, b = sorted((one, other))
    gap = record.window(a, b).longest_gap()
    assert gap <= b - a + 1e-9
    assert gap <= record.longest_gap() + 1e-9


@UNHURRIED
@given(RECORDS)
def test_a_record_is_stored_and_loaded(record: Record) -> None:
    stored = io.StringIO()
    record.dump(stored)
    assert Record.load(stored.getvalue().splitlines()) == record


@UNHURRIED
@given(RECORDS, st.sampled_from([0.05, 0.1, 1.0]))
def test_generations_over_time_count_all_ok_responses(record: Record, step: float) -> None:
    steps = record.generations_over_time(step)
    assert sum(count.total() for _, count in steps) == record.generations().total() == record.by_outcome()[Outcome.OK]
    assert [at for at, _ in steps] == sorted({at for at, _ in steps})


def test_a_window_without_responses_is_a_gap() -> None:
    record = answered(1.0, 2.0, 7.0, 8.0, 9.5)
    assert record.longest_gap() == pytest.approx(5.0)
    assert record.window(3.0, 6.0).longest_gap() == pytest.approx(3.0)
    assert record.window(6.0, 8.0).longest_gap() == pytest.approx(1.0)


def test_a_response_ends_a_gap_even_if_its_request_was_due_before_the_window() -> None:
    early = Request(0.5, 0.5, 1.5, Outcome.OK, Kind.FRESH)
    window = Record.of([early], 0.0, 2.0).window(1.0, 2.0)
    assert len(window) == 0
    assert window.longest_gap() == pytest.approx(0.5)


def test_a_failed_request_does_not_end_a_gap() -> None:
    refused = Request(1.0, 1.0, 1.0, Outcome.REFUSED, Kind.FRESH)
    assert Record.of([refused], 0.0, 2.0).longest_gap() == pytest.approx(2.0)


def test_quick_failures_do_not_improve_a_percentile() -> None:
    slow = Request(0.0, 0.0, 1.0, Outcome.OK, Kind.FRESH)
    quick = [Request(0.1, 0.1, 0.1, outcome, Kind.FRESH) for outcome in Outcome if outcome not in TIMED]
    assert Record.of([slow, *quick], 0.0, 1.0).percentile(1) == 1.0


def test_latency_counts_from_when_the_request_was_due() -> None:
    late = Request(1.0, 1.5, 1.6, Outcome.OK, Kind.FRESH)
    assert late.latency == pytest.approx(0.6)
    assert Record.of([late], 1.0, 2.0).lag() == pytest.approx(0.5)


def test_marks_make_spans_and_one_without_an_end_lasts_to_the_end_of_the_record() -> None:
    marks = (Mark("a-start", 1.0), Mark("a-end", 2.0), Mark("b-start", 3.0), Mark("note", 4.0))
    record = answered(1.5, 3.5, marks=marks)
    assert [(span.name, span.start, span.end) for span in record.spans()] == [("a", 1.0, 2.0), ("b", 3.0, 10.0)]
    assert len(record.between("a-start", "a-end")) == 1
    with pytest.raises(KeyError, match="no mark 'c'"):
        record.at("c")


def test_a_percentile_beyond_100_is_refused() -> None:
    with pytest.raises(ValueError, match="101"):
        answered(1.0).percentile(101)


def test_steady_state_ends_at_the_start_of_the_first_span() -> None:
    record = answered(1.0, 2.0, 5.0, marks=(Mark("ready", 1.5), Mark("rollout-1-start", 4.0)))
    assert [request.end for request in steady_state(record).requests] == [2.0]


def test_the_table_shows_steady_state_each_rollout_and_the_whole() -> None:
    marks = (Mark("rollout-1-start", 3.0), Mark("rollout-1-end", 6.0))
    record = Record.of(
        [*answered(1.0, 2.0, 4.0, 9.0).requests, Request(5.0, 5.0, 5.1, Outcome.RESET, Kind.FRESH)], 0.0, 10.0, marks
    )
    assert [(row.name, len(row.record), len(row.record.failed)) for row in rows(record)] == [
        ("steady state", 2, 0),
        ("rollout-1", 2, 1),
        ("whole run", 5, 1),
    ]
    assert render(record) == (
        "              requests  failed  p50 ms  p99 ms  slowest ms  longest gap ms\n"
        "steady state         2       0     1.0     1.0         1.0          1000.0\n"
        "rollout-1            2       1     1.0     1.0         1.0          2000.0\n"
        "whole run            5       1     1.0     1.0         1.0          5000.0\n"
        "failed: 1 reset\n"
    )


def test_the_table_of_an_empty_record_can_be_rendered() -> None:
    assert "steady state         0       0       -       -" in render(Record.of([], 0.0, 1.0))
