"""The record of a load: every request with its outcome, and statistics of them. Pure; no sockets, no clock.

All times are CLOCK_MONOTONIC seconds, which all processes of a machine share, also across namespaces.
"""

import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, TextIO


class Outcome(StrEnum):
    OK = "ok"
    HTTP_ERROR = "http-error"  # a complete response, but not 2xx or 3xx
    REFUSED = "refused"
    RESET = "reset"
    TIMEOUT = "timeout"
    EOF = "eof"  # closed before the first byte of a response
    SHORT = "short"  # closed in the middle of a response
    OTHER = "other"  # the error's name is in `detail`


class Kind(StrEnum):
    FRESH = "fresh"  # a connection of its own, on schedule
    KEEPALIVE = "keepalive"
    SLOW = "slow"  # a response that takes a while; this and the next two by long_requests.py
    UPLOAD = "upload"  # a body that arrives in pieces
    DOWNLOAD = "download"  # a body that is read in pieces
    WEBSOCKET = "websocket"  # a message on a WebSocket, or the opening of one; by websocket_clients.py


TIMED = frozenset({Outcome.OK, Outcome.HTTP_ERROR, Outcome.TIMEOUT})  # a fast failure must not improve a percentile


@dataclass(frozen=True, slots=True)
class Request:
    start: float  # when it was due, however late it was sent, to avoid coordinated omission
    sent: float
    end: float
    outcome: Outcome
    kind: Kind
    status: int | None = None
    generation: int | str | None = None
    version: str | None = None
    instance: int | str | None = None
    pid: int | None = None
    nth: int = 1  # of its connection
    detail: str = ""

    @property
    def latency(self) -> float:
        return self.end - self.start

    @property
    def failed(self) -> bool:
        return self.outcome is not Outcome.OK


@dataclass(frozen=True, slots=True)
class Mark:
    name: str
    at: float


@dataclass(frozen=True, slots=True)
class Span:
    """The time between the marks NAME-start and NAME-end."""

    name: str
    start: float
    end: float


def nearest_rank(ordered: Sequence[float], p: float) -> float:
    if not 0 <= p <= 100:
        raise ValueError(f"no such percentile: {p}")
    return ordered[max(math.ceil(p / 100 * len(ordered)) - 1, 0)] if ordered else math.nan


@dataclass(frozen=True, slots=True)
class Record:
    requests: tuple[Request, ...]  # by start
    start: float
    end: float
    marks: tuple[Mark, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)  # of the run as a whole: CPU used, idle closes, queue overflows
    answers: tuple[float, ...] = ()  # times of ok responses within start and end, whenever their requests were due

    @classmethod
    def of(
        cls,
        requests: Iterable[Request],
        start: float,
        end: float,
        marks: Iterable[Mark] = (),
        facts: dict[str, Any] | None = None,
    ) -> "Record":
        ordered = tuple(sorted(requests, key=lambda request: request.start))
        answers = tuple(sorted(request.end for request in ordered if not request.failed))
        return cls(ordered, start, end, tuple(marks), facts or {}, answers)

    def __len__(self) -> int:
        return len(self.requests)

    def window(self, a: float, b: float) -> "Record":
        """Return the requests due in [a, b), so that adjacent windows count each request once."""
        low, high = (bisect_left(self.requests, when, key=lambda request: request.start) for when in (a, b))
        first, last = (bisect_left(self.answers, when) for when in (a, b))
        return replace(
            self,
            requests=self.requests[low:high],
            start=a,
            end=b,
            marks=tuple(mark for mark in self.marks if a <= mark.at < b),
            answers=self.answers[first:last],
        )

    def where(self, wanted: Callable[[Request], bool]) -> "Record":
        chosen = [request for request in self.requests if wanted(request)]
        return Record.of(chosen, self.start, self.end, self.marks, self.facts)

    def of_kind(self, kind: Kind) -> "Record":
        return self.where(lambda request: request.kind is kind)

    @property
    def failed(self) -> tuple[Request, ...]:
        return tuple(request for request in self.requests if request.failed)

    def by_outcome(self) -> Counter[Outcome]:
        return Counter(request.outcome for request in self.requests)

    def latencies(self) -> list[float]:
        return sorted(request.latency for request in self.requests if request.outcome in TIMED)

    def percentile(self, p: float) -> float:
        """Return a percentile of the latencies; NaN without responses."""
        return nearest_rank(self.latencies(), p)

    @property
    def slowest(self) -> Request | None:
        timed = (request for request in self.requests if request.outcome in TIMED)
        return max(timed, key=lambda request: request.latency, default=None)

    def longest_gap(self) -> float:
        """Return the longest time without an ok response within the window, whose edges count as responses."""
        points = sorted({self.start, *self.answers, self.end})
        return max((later - earlier for earlier, later in pairwise(points)), default=0.0)

    def lag(self, p: float = 99) -> float:
        """Return how late the generator itself sent requests; a large value means that the machine was too busy."""
        return nearest_rank(sorted(request.sent - request.start for request in self.requests), p)

    def at(self, mark: str) -> float:
        """Return the time of the first mark with a name."""
        for candidate in self.marks:
            if candidate.name == mark:
                return candidate.at
        raise KeyError(f"no mark {mark!r}; there are {[candidate.name for candidate in self.marks]}")

    def between(self, first: str, second: str) -> "Record":
        return self.window(self.at(first), self.at(second))

    def spans(self) -> list[Span]:
        """Return the span from each mark NAME-start to the next mark NAME-end, or to the end of the record."""
        found = []
        for position, mark in enumerate(self.marks):
            if mark.name.endswith("-start"):
                name = mark.name.removesuffix("-start")
                ends = (later.at for later in self.marks[position:] if later.name == f"{name}-end")
                found.append(Span(name, mark.at, next(ends, self.end)))
        return found

    def generations(self) -> Counter[int | str | None]:
        return Counter(request.generation for request in self.requests if not request.failed)

    def generations_over_time(self, step: float = 0.1) -> list[tuple[float, Counter[int | str | None]]]:
        """Return the number of ok responses of each generation for every step since the start that has any."""
        steps: dict[int, Counter[int | str | None]] = {}
        for request in self.requests:
            if not request.failed:
                steps.setdefault(math.floor((request.end - self.start) / step), Counter())[request.generation] += 1
        return [(self.start + number * step, steps[number]) for number in sorted(steps)]

    def summary(self) -> dict[str, Any]:
        slowest = self.slowest

        def ms(seconds: float) -> float | None:
            return None if math.isnan(seconds) else round(seconds * 1000, 2)

        return {
            "requests": len(self),
            "failed": len(self.failed),
            "outcomes": {str(outcome): count for outcome, count in sorted(self.by_outcome().items())},
            "seconds": round(self.end - self.start, 3),
            "p50_ms": ms(self.percentile(50)),
            "p99_ms": ms(self.percentile(99)),
            "slowest_ms": None if slowest is None else ms(slowest.latency),
            "longest_gap_ms": ms(self.longest_gap()),
            "lag_p99_ms": ms(self.lag()),
            **self.facts,
        }

    def lines(self) -> Iterator[str]:
        """Yield the stored form: a JSON object for the run, then a JSON array for each request, in field order."""
        marks = [[mark.name, mark.at] for mark in self.marks]
        yield json.dumps({"start": self.start, "end": self.end, "marks": marks, "facts": self.facts})
        for r in self.requests:
            whole = (r.start, r.sent, r.end, r.outcome, r.kind, r.status, r.generation, r.version, r.instance, r.pid)
            yield json.dumps([*whole, r.nth, r.detail])

    def dump(self, file: TextIO) -> None:
        file.writelines(f"{line}\n" for line in self.lines())

    @classmethod
    def load(cls, lines: Iterable[str]) -> "Record":
        stored = iter(lines)
        head = json.loads(next(stored))
        rows = (json.loads(line) for line in stored)
        requests = (Request(row[0], row[1], row[2], Outcome(row[3]), Kind(row[4]), *row[5:]) for row in rows)
        return cls.of(requests, head["start"], head["end"], [Mark(*mark) for mark in head["marks"]], head["facts"])
