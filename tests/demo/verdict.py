"""All that was seen of the steered demonstration, and what follows from it. Pure."""

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
    """A command as it went. `before` and `after` are the active instances with their invocation IDs."""

    command: str
    status: int
    start: float
    end: float
    before: Mapping[int, str]
    after: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Canary:
    """What the canary got, as deployd tells it (percent). `start` is when it stood."""

    generation: int
    start: float
    asked: float
    seen: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The last two of `acts` are the rollout of the bad release and the way back. `called` is when the
    latter was asked of deployd on the bus; None if nobody saw it."""

    settings: Settings
    record: Record
    timeline: Timeline
    acts: tuple[Act, ...]
    canary: Canary
    bad: str  # the version
    called: float | None

    # ---- what was seen

    @property
    def rollback(self) -> Act:
        return self.acts[-1]

    def fresh(self) -> list[Request]:
        """Whoever answered a new connection."""
        return [
            request
            for request in self.record.requests
            if request.kind is Kind.FRESH and isinstance(request.generation, int)
        ]

    def lost(self) -> Counter[str]:
        """Requests with no answer, and answers that are none though the release is good."""
        failed = (request for request in self.record.requests if request.failed)
        return Counter(
            str(request.outcome)
            for request in failed
            if request.outcome is not Outcome.HTTP_ERROR or request.version != self.bad
        )

    def canaries(self) -> tuple[int, int]:
        """Of so many connections since the canary stood, so many were its own."""
        ordered = sorted((request for request in self.fresh() if request.sent >= self.canary.start), key=_sent)
        counted = ordered[: self.settings.connections]
        return sum(request.generation == self.canary.generation for request in counted), len(counted)

    def late(self) -> int:
        """How many answers of the bad release came later after the way back was asked for than they may."""
        if self.called is None:
            return 0
        limit = self.called + self.settings.late
        return sum(request.version == self.bad and request.end > limit for request in self.record.requests)

    def last_bad(self) -> Request | None:
        """The last answer of the bad release."""
        bad = (request for request in self.record.requests if request.version == self.bad)
        return max(bad, key=lambda request: request.end, default=None)

    def samples(self) -> list[Sample]:
        """For the drawings: answers on new connections."""
        return [Sample(request.end, int(request.generation or 0)) for request in self.fresh()]

    def series(self) -> list[Series]:
        """The generations, with what they are called."""
        known = sorted({(int(request.generation or 0), request.version or "?") for request in self.fresh()})
        return [
            Series(generation, f"generation {generation}, {version}{' (answers 500)' * (version == self.bad)}", bad)
            for generation, version in known
            for bad in (version == self.bad,)
        ]

    def moments(self) -> list[Moment]:
        """The commands, and the last bad answer."""
        found = [Moment(act.start, act.command) for act in self.acts]
        last = self.last_bad()
        return sorted([*found, Moment(last.end, "the last answer of the bad release")] if last else found)

    # ---- what had to be

    def checks(self) -> list[Check]:
        return [
            self.nothing_lost(),
            *(self.ended_well(act) for act in self.acts if act.status),
            self.share(),
            self.told(),
            self.way_back(),
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

    def told(self) -> Check:
        """deployd's own word agrees with what the clients saw."""
        asked, seen = self.canary.asked, self.canary.seen
        mine, total = self.canaries()
        measured = 100 * mine / total if total else 0.0
        within = self.settings.tolerance
        agrees = abs(asked - CANARY) <= within and seen is not None and abs(seen - measured) <= within
        words = "nothing" if seen is None else f"{seen:.2f} %"
        return Check(
            agrees, f"deployd status --json: asked {asked:.2f} %, seen {words}; the clients saw {measured:.2f} %"
        )

    def way_back(self) -> Check:
        last = self.last_bad()
        if last is None:
            return Check(False, f"{self.bad} answered nobody, so that there was nothing to come back from")
        if self.called is None:
            return Check(False, "rollback: nobody asked deployd for it on the bus")
        after, command = last.end - self.called, last.end - self.rollback.start
        late = self.late()
        many = f"; {late:,} came later than that" if late else ""
        return Check(
            not late,
            f"rollback: the last answer of {self.bad} came {_ms(after)} after deployd was asked for it (at most "
            f"{_ms(self.settings.late)}), {_ms(command)} after the command was entered{many}",
        )

    def nothing_started(self) -> Check:
        """systemd starts no process on the way back, and those that answer afterwards are those of before."""
        started = self.timeline.started(self.rollback.start, self.record.end)
        if started:
            return Check(False, f"rollback: instances {' '.join(map(str, started))} were started")
        before = {request.pid for request in self.fresh() if request.end < self.acts[-2].start}
        after = {request.pid for request in self.fresh() if request.sent > self.rollback.end}
        if not after or not after <= before:
            return Check(False, "rollback: processes answer that did not answer before the bad release")
        return Check(
            True, f"rollback: no instance was started; the {len(after)} processes that serve are those of before"
        )

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
