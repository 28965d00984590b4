"""The observations of a demonstration, and the checks of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.demo.scenario import Step
from tests.demo.settings import Settings
from tests.demo.timeline import Timeline
from tests.load.netstat import Listen
from tests.load.record import Record
from tests.load.table import steady_state


@dataclass(frozen=True, slots=True)
class Run:
    """A step that was carried out. `before` and `after` map active instances to invocation IDs."""

    step: Step
    status: int
    start: float
    end: float
    before: Mapping[int, str]
    after: Mapping[int, str]

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def untouched(self) -> int:
        """The number of instances that are still the same process."""
        return len(set(self.before.values()) & set(self.after.values()))


@dataclass(frozen=True, slots=True)
class Check:
    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All observations. `history` is deployd's, oldest first, with the generations of `runs` only."""

    settings: Settings
    runs: tuple[Run, ...]
    record: Record
    timeline: Timeline
    history: Sequence[Mapping[str, Any]]
    listen: tuple[Listen, Listen]

    @property
    def steady(self) -> Record:
        """The record before the first change."""
        return steady_state(self.record)

    def during(self, run: Run) -> Record:
        return self.record.window(run.start, run.end)

    def after(self, run: Run) -> Record:
        """Return the record from the end of a step until the next step, or the end."""
        starts = {one.end: other.start for one, other in pairwise(self.runs)}
        return self.record.window(run.end, starts.get(run.end, self.record.end))

    def floor(self, run: Run) -> int:
        return self.timeline.floor(run.start, run.end)

    def replaced(self, run: Run) -> list[int]:
        return self.timeline.replaced(run.start, run.end)

    def generation(self, run: Run) -> Mapping[str, Any]:
        """Return the generation of a step in deployd's history."""
        return dict(zip(range(len(self.runs)), self.history, strict=False)).get(self.runs.index(run), {})

    # ---- checks

    def checks(self) -> list[Check]:
        return [self.nothing_failed(), self.capacity(), *map(self.as_expected, self.runs)]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks())

    def nothing_failed(self) -> Check:
        total, failed = len(self.record), self.record.failed
        if not total:
            return Check(False, "no request was made")
        if failed:
            outcomes = self.record.where(lambda request: request.failed).by_outcome()
            kinds = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
            return Check(False, f"{len(failed):,} of {total:,} requests failed: {kinds}")
        return Check(True, f"no request failed: all {total:,} were answered")

    def capacity(self) -> Check:
        if not self.runs:
            return Check(False, "nothing was rolled out")
        wanted, most = self.settings.floor, self.settings.instances
        lowest = self.timeline.floor(self.record.start, self.record.end)
        if self.timeline.ready_at(self.runs[-1].end) != set(self.runs[-1].after.values()):
            return Check(False, "the capacity is unknown: journal and systemctl disagree about the running instances")
        if lowest < wanted:
            where = [run.step.name for run in self.runs if self.floor(run) == lowest]
            return Check(False, f"capacity fell to {lowest} of {most} ready ({', '.join(where) or 'between steps'})")
        if wanted < most:
            return Check(True, f"never fewer than {wanted} of {most} instances ready, as expected without surge")
        return Check(True, f"never fewer than {most} of {most} instances ready")

    def as_expected(self, run: Run) -> Check:
        wrong = self.problems(run)
        if wrong:
            return Check(False, f"{run.step.name}: {'; '.join(wrong)}")
        if run.step.good:
            order = " ".join(map(str, self.replaced(run)))
            return Check(True, f"{run.step.name}: instances {order} replaced, in that order")
        same = f"{run.untouched} of {self.settings.instances} untouched"
        return Check(True, f"{run.step.name}: rolled back automatically; {same}; it served no request")

    def problems(self, run: Run) -> list[str]:
        """Return the differences from what the step should do."""
        step, wrong = run.step, []
        if run.status != step.status:
            wrong.append(f"exit status {run.status} instead of {step.status}")
        result = self.generation(run).get("result", "unknown")
        if result != step.result:
            wrong.append(f"deployd's history has the result {result}, not {step.result}")
        if len(run.after) != self.settings.instances:
            wrong.append(f"{len(run.after)} instances active afterwards")
        answered = {request.version for request in self.after(run).requests if not request.failed}
        if strangers := sorted(str(version) for version in answered - {step.serves}):
            wrong.append(f"{', '.join(strangers)} answered after it")
        return wrong + (self._order(run) if step.good else self._untouched(run))

    def _order(self, run: Run) -> list[str]:
        seen, recorded = self.replaced(run), self.generation(run).get("replaced")
        wrong = []
        if run.untouched or len(seen) != len(run.before):
            wrong.append(f"{run.untouched} of {len(run.before)} instances not replaced")
        if seen != recorded:
            wrong.append(f"systemd stopped {seen}, deployd's history has {recorded}")
        return wrong

    def _untouched(self, run: Run) -> list[str]:
        wrong = []
        if run.untouched < self.settings.floor:
            wrong.append(f"only {run.untouched} of {len(run.before)} instances untouched")
        if answers := sum(request.version == run.step.version for request in self.record.requests):
            wrong.append(f"{run.step.version} answered {answers:,} requests")
        return wrong
