"""The capacity of a server follows from its answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.record import Kind, Outcome, Record, Request
from tests.servers.reloads.capacity import SECONDS, Capacity, of_change

CHANGE, END = 5.0, 12.0


def answers(worker: int, begin: float, end: float, phase: float) -> list[Request]:
    """A worker of one thread that is busy in [begin, end)."""
    starts = [begin + phase * SECONDS + number * SECONDS for number in range(round((end - begin) / SECONDS) - 1)]
    return [Request(start, start, start + SECONDS, Outcome.OK, Kind.KEEPALIVE, 200, pid=worker) for start in starts]


def record(*parts: list[Request]) -> Record:
    return Record.of([request for part in parts for request in part], 0.0, END)


@given(st.integers(0, 4), st.lists(st.floats(0, 0.99), min_size=4, max_size=4))
def test_the_least_capacity_is_the_workers_that_remain_meanwhile(remaining: int, phases: list[float]) -> None:
    old = [answers(number, 0.0, CHANGE, phases[number]) for number in range(4)]
    meanwhile = [answers(number, CHANGE, 8.0, phases[number]) for number in range(remaining)]
    new = [answers(10 + number, 8.0, END, phases[number]) for number in range(4)]
    assert of_change(record(*old, *meanwhile, *new), CHANGE, workers=True) == Capacity(remaining, 4, True)


@given(st.integers(1, 4), st.lists(st.floats(0, 0.99), min_size=4, max_size=4))
def test_workers_that_are_replaced_one_by_one_after_their_successors_are_not_missed(
    overlap: int, phases: list[float]
) -> None:
    old = [answers(number, 0.0, CHANGE + overlap, phases[number]) for number in range(4)]
    new = [answers(10 + number, CHANGE, END, phases[number]) for number in range(4)]
    assert of_change(record(*old, *new), CHANGE, workers=True) == Capacity(4, 4, True)


def test_a_failed_request_is_no_answer() -> None:
    refused = [
        Request(number / 100, 0.0, number / 100, Outcome.REFUSED, Kind.KEEPALIVE, pid=1) for number in range(500, 900)
    ]
    for workers in (True, False):
        assert of_change(record(answers(1, 0.0, CHANGE, 0.0), refused), CHANGE, workers).least == 0


@given(st.integers(1, 20))
def test_a_worker_that_gets_no_request_for_a_while_is_not_missed(every: int) -> None:
    seldom = answers(2, 0.0, END, 0.0)[::every]
    busy = [answers(1, 0.0, END, 0.0), answers(3, 0.0, END, 0.5)]
    assert of_change(record(seldom, [*answers(2, END - 0.8, END, 0.0)], *busy), CHANGE, workers=True).least == 3


@pytest.mark.parametrize(("capacity", "said"), [(Capacity(3, 4, True), "3 of 4"), (Capacity(15, 30, False), "50%")])
def test_answers_that_name_no_worker_are_a_percentage(capacity: Capacity, said: str) -> None:
    assert str(capacity) == said
