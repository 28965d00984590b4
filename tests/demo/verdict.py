"""The observations of the steered demonstration, and the checks of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.demo.evidence import Check
from tests.demo.settings import Settings
from tests.demo.shares import Moment, Sample, Series
from tests.demo.timeline import Timeline
from tests.load.record import Kind, Outcome, Record, Request

CANARY = 5.0  # percent


@dataclass(frozen=True, slots=True)
class Act:
    """A command that was run. `before` and `after` map active instances to invocation IDs."""

    command: str
    status: int
    start: float
    end: float
    before: Mapping[int, str]
    after: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Canary:
    """The shares of the canary reported by deployd, in percent. `start` is when the rollout paused."""

    generation: int
    start: float
    asked: float
    seen: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """All observations. The last two of `acts` are the rollout of the bad release and the rollback.

    `called` is when the request of the rollback was seen on the bus, None if it was not.
    """

    settings: Settings
    record: Record
    timeline: Timeline
    acts: tuple[Act, ...]
    canary: Canary
    bad: str  # the version
    called: float | None

    # ---- observations

    @property
    def rollback(self) -> Act:
        return self.acts[-1]

    def fresh(self) -> list[Request]:
        """Return the requests on new connections that a generation answered."""
        return [
            request
            for request in self.record.requests
            if request.kind is Kind.FRESH and isinstance(request.generation, int)
        ]

    def lost(self) -> Counter[str]:
        """Count the requests without a response, and those with an error of a good release, by outcome."""
        failed = (request for request in self.record.requests if request.failed)
        return Counter(
            str(request.outcome)
            for request in failed
            if request.outcome is not Outcome.HTTP_ERROR or request.version != self.bad
        )

    def canaries(self) -> tuple[int, int]:
        """Return the number of connections to the canary since the pause, and the number of all."""
        ordered = sorted((request for request in self.fresh() if request.sent >= self.canary.start), key=_sent)
        counted = ordered[: self.settings.connections]
        return sum(request.generation == self.canary.generation for request in counted), len(counted)

    def late(self) -> int:
        """Return the number of responses of the bad release that came too late after the request of the rollback."""
        if self.called is None:
            return 0
        limit = self.called + self.settings.late
        return sum(request.version == self.bad and request.end > limit for request in self.record.requests)

    def last_bad(self) -> Request | None:
        """Return the last response of the bad release."""
        bad = (request for request in self.record.requests if request.version == self.bad)
        return max(bad, key=lambda request: request.end, default=None)

    def samples(self) -> list[Sample]:
        """Return the responses on new connections, for the plots."""
        return [Sample(request.end, int(request.generation or 0)) for request in self.fresh()]

    def series(self) -> list[Series]:
        """Return the generations with their labels."""
        known = sorted({(int(request.generation or 0), request.version or "?") for request in self.fresh()})
        return [
            Series(generation, f"generation {generation}, {version}{' (responds 500)' * (version == self.bad)}", bad)
            for generation, version in known
            for bad in (version == self.bad,)
        ]

    def moments(self) -> list[Moment]:
        """Return the commands, and the last bad response."""
        found = [Moment(act.start, act.command) for act in self.acts]
        last = self.last_bad()
        return sorted([*found, Moment(last.end, "the last response of the bad release")] if last else found)

    # ---- checks

    def checks(self) -> list[Check]:
        return [
            self.nothing_lost(),
            *(self.ended_well(act) for act in self.acts if act.status),
            self.share(),
            self.reported(),
            self.rolled_back(),
            self.nothing_started(),
        ]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks())

    def nothing_lost(self) -> Check:
        total, lost = len(self.record), self.lost()
        answered = sum(request.version == self.bad for request in self.record.requests)
        if lost or not total:
            kinds = ", ".join(f"{count:,} {outcome}" for outcome, count in lost.most_common())
            return Check(False, f"{lost.total():,} of {total:,} requests lost: {kinds}")
        return Check(
            True, f"no request lost: all {total:,} were answered ({answered:,} of them by {self.bad}, with its 500)"
        )

    def ended_well(self, act: Act) -> Check:
        return Check(act.status == 0, f"{act.command}: exit status {act.status}")

    def share(self) -> Check:
        mine, total = self.canaries()
        if total < self.settings.connections:
            return Check(False, f"canary: only {total:,} new connections, not {self.settings.connections:,}")
        percent = 100 * mine / total
        return Check(
            abs(percent - CANARY) <= self.settings.tolerance,
            f"canary: {mine:,} of {total:,} new connections, {percent:.2f} %; asked for {CANARY:g} %, "
            f"give or take {self.settings.tolerance:g}",
        )

    def reported(self) -> Check:
        """Check that deployd's report agrees with what the clients observed."""
        asked, seen = self.canary.asked, self.canary.seen
        mine, total = self.canaries()
        measured = 100 * mine / total if total else 0.0
        within = self.settings.tolerance
        agrees = abs(asked - CANARY) <= within and seen is not None and abs(seen - measured) <= within
        words = "unknown" if seen is None else f"{seen:.2f} %"
        return Check(agrees, f"deployd status --json: asked {asked:.2f} %, seen {words}; clients: {measured:.2f} %")

    def rolled_back(self) -> Check:
        last = self.last_bad()
        if last is None:
            return Check(False, f"{self.bad} served no request, so there was nothing to roll back")
        if self.called is None:
            return Check(False, "rollback: no request was seen on the bus")
        after, command = last.end - self.called, last.end - self.rollback.start
        late = self.late()
        many = f"; {late:,} came later than that" if late else ""
        return Check(
            not late,
            f"rollback: the last response of {self.bad} came {_ms(after)} after the request reached deployd (at most "
            f"{_ms(self.settings.late)}), {_ms(command)} after the command was entered{many}",
        )

    def nothing_started(self) -> Check:
        """Check that the rollback started no process, and that the same processes serve as before the bad release."""
        started = self.timeline.started(self.rollback.start, self.record.end)
        if started:
            return Check(False, f"rollback: instances {' '.join(map(str, started))} were started")
        before = {request.pid for request in self.fresh() if request.end < self.acts[-2].start}
        after = {request.pid for request in self.fresh() if request.sent > self.rollback.end}
        if not after or not after <= before:
            return Check(False, "rollback: processes serve that did not serve before the bad release")
        return Check(True, f"rollback: no instance was started; the same {len(after)} processes serve as before")

    def as_json(self) -> dict[str, Any]:
        mine, total = self.canaries()
        last = self.last_bad()
        return {
            "ok": self.holds,
            "requests": len(self.record),
            "lost": self.lost().total(),
            "canary": {"connections": total, "new": mine, "asked": self.canary.asked, "seen": self.canary.seen},
            "last_bad_ms": {
                "after_call": _since(last, self.called),
                "after_command": _since(last, self.rollback.start),
            },
            "late": self.late(),
            "whole": self.record.summary(),
            "checks": [{"holds": check.holds, "text": check.text} for check in self.checks()],
        }


def _sent(request: Request) -> float:
    return request.sent


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _since(request: Request | None, start: float | None) -> float | None:
    return None if request is None or start is None else round((request.end - start) * 1000, 1)
