"""How many workers of a server answer at the least, compared with the usual number. Pure.

A worker serves from its first answer to its last one, while clients ask for more responses of SECONDS than the workers
have threads. Not each WINDOW has an answer of each worker: gunicorn's threads accept connections that they cannot serve
yet. Where answers do not say which worker gave them, they are counted themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from tests.load.record import Record

SECONDS = 0.2
"""That a response takes."""
CLIENTS = 32
"""Twice as many as 4 workers with 4 threads can serve."""
WINDOW = 0.5
STEP = 0.1
SETTLED = 1.0
"""Seconds after the beginning and before the end of a load in which a worker may not have answered yet, or no more."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The least number of workers that answered in any WINDOW, or of answers, and the usual number."""

    least: int
    usual: int
    workers: bool

    def __str__(self) -> str:
        return f"{self.least} of {self.usual}" if self.workers else f"{self.least / self.usual:.0%}"


def of_change(record: Record, change: float, workers: bool) -> Capacity:
    """Return the least capacity from the time `change` to the end, and the usual one before it."""
    least = min(over_time(record, change, record.end - SETTLED, workers))
    return Capacity(least, round(median(over_time(record, record.start + SETTLED, change, workers))), workers)


def usual(record: Record, workers: bool) -> int:
    """Return the usual capacity in a record without a change: the workers that answer at all, or the answers."""
    if workers:
        return len(
            {request.pid for request in record.window(record.start + SETTLED, record.end).requests if request.pid}
        )
    return round(median(over_time(record, record.start + SETTLED, record.end - SETTLED, workers)))


def over_time(record: Record, begin: float, end: float, workers: bool) -> Iterator[int]:
    """Yield the capacity in each WINDOW in [begin, end), STEP by STEP."""
    spans: dict[int | None, tuple[float, float]] = {}
    for request in (request for request in record.requests if not request.failed):
        first, last = spans.get(request.pid, (request.end, request.end))
        spans[request.pid] = (min(first, request.end), max(last, request.end))
    for number in range(max(int((end - begin - WINDOW) / STEP + 1e-9) + 1, 0)):
        start = begin + number * STEP
        if workers:
            yield sum(first < start + WINDOW and last >= start for first, last in spans.values())
        else:
            yield sum(start <= answer < start + WINDOW for answer in record.answers)
