"""What a row of the table says: the requests of a server under rollouts, and what became of its bad releases."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

from tests.load.record import Kind, Record


@dataclass(frozen=True, slots=True)
class Counted:
    """Requests of a span of time."""

    requests: int
    failed: int
    outcomes: dict[str, int]
    """Failures by kind of request, outcome and detail."""
    slowest: float
    """Seconds; of the fresh and kept connections, whose requests take no time of their own."""

    messages: int = 0
    """Of the requests, those on WebSockets."""
    moved: int = 0
    """WebSockets that a server has closed in order, between two messages, and whose clients have connected again."""

    @classmethod
    def of(cls, short: Record, *others: Record) -> Self:
        """Count the requests of the load generator, and of clients with long requests and with WebSockets."""
        records = (short, *others)
        failures: dict[str, int] = {}
        for request in (request for record in records for request in record.failed):
            key = f"{request.kind} {request.outcome} {request.detail}".rstrip()
            failures[key] = failures.get(key, 0) + 1
        slowest = short.slowest
        return cls(
            sum(map(len, records)),
            sum(failures.values()),
            failures,
            0.0 if slowest is None else round(slowest.latency, 3),
            sum(len(record.of_kind(Kind.WEBSOCKET)) for record in records),
            sum(record.facts.get("moved", 0) for record in records),
        )


@dataclass(frozen=True, slots=True)
class Bad:
    """A bad release."""

    behaviour: str
    stopped: bool
    """Rolled back, with all instances of the old generation ready."""
    reason: str
    seconds: float
    requests: int
    failed: int
    outcomes: dict[str, int] = field(default_factory=dict)
    """Failures by kind of request, outcome and detail."""


@dataclass(frozen=True, slots=True)
class Row:
    """One server in one mode."""

    server: str
    title: str
    version: str
    mode: str
    rollouts: int
    during: Counted
    beyond: float
    """Seconds of a rollout for each instance, beyond its own boot."""
    bad: tuple[Bad, ...]
    note: str = ""

    @property
    def failed(self) -> int:
        return self.during.failed + sum(item.failed for item in self.bad)

    @property
    def requests(self) -> int:
        return self.during.requests + sum(item.requests for item in self.bad)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The inverse of to_json."""
        return cls(
            **stored | {"during": Counted(**stored["during"]), "bad": tuple(Bad(**item) for item in stored["bad"])}
        )
