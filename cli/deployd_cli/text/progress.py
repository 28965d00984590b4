"""The progress of a rollout, from the status at its beginning and the events since then, drawn at any size.

On a small terminal, instances that simply serve are summed up first; failures are always shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployd_cli.text.boot import median_boot
from deployd_cli.text.event import event_line, hook_words, instance_words, smoke_words
from deployd_cli.text.failure import facts, failure_of, journal_lines
from deployd_cli.text.paint import STATE_STYLES, Paint
from deployd_cli.text.processes import processes_of
from deployd_cli.text.readiness import ready_words
from deployd_cli.text.rollout import how_of, release_change
from deployd_cli.text.steering import canary_words, fitted, left_words, percent_of, steered, weight_words
from deployd_cli.text.table import Cell, Column, blocks_within, in_blocks, table
from deployd_cli.text.trim import summed, trimmed, within
from deployd_cli.text.words import columns, cut, dicts_of, duration, indented, number_of, text_of

HEADS = [
    Column("INSTANCE", number=True),
    Column("GENERATION", number=True, short="GEN"),
    Column("STATE"),
    Column("FOR", number=True),
]
WEIGHT = Column("WEIGHT", number=True)
OPEN = Column("OPEN", number=True)
REASON = Column("REASON", shrinks=True)
SERVING = ("ready", "adopted")
URGENCY = {"failed": 0, "starting": 1, "stopping": 1, "freezing": 1, "thawing": 1}
STOPPED = ("stopped", "inactive", "standby", "draining")
USUAL = ("replaced", "rolled back")
"""Reasons for which instances stop in a rollout."""
MAX_FAILURES = 4
MAX_JOURNAL = 8


@dataclass(slots=True)
class Row:
    """An instance. `since` is None for a state older than the rollout; `weight` and `left` (open connections) are from
    the last status."""

    generation: str
    state: str
    since: float | None = None
    reason: str = ""
    weight: str = ""
    left: str = ""


class Progress:
    """Takes in events, and statuses for what events do not report. Times are seconds on the clock of the caller."""

    def __init__(self, app: str, status: Mapping[str, Any], target: int, now: float) -> None:
        self.app = text_of({"app": app}, "app", "-")
        self.target = target
        self.origin = text_of(status, "generation")
        self.release = ""
        self.phase = "rolling"
        self.note = ""
        self.warning = ""
        self.lost = ""
        self.how = ""
        self.hook: tuple[str, float] | None = None
        self.journal: list[str] = []
        self.failures: dict[str, str] = {}
        self.ended = False
        self._began = self._now = now
        self._rows = {
            _row_name(process, item): Row(text_of(item, "generation", "-"), text_of(item, "state", "-"))
            for process, its in (("", status), *processes_of(status))
            for item in dicts_of(its, "instances")
        }
        self._desired = number_of(status, "desired")
        self._boot = median_boot(status)
        self._latest = now
        """When an instance of the new generation began to serve last."""
        self._weights: list[str] = []
        self._canary = ""
        self._steered = False
        self.update(status, now)

    def update(self, status: Mapping[str, Any], now: float) -> None:
        """Take in weights, open connections and standby of a steered app, which no event reports."""
        self._steered = steered(status)
        if not self._steered or self.ended:
            return
        self._weights, self._canary = weight_words(status), canary_words(status)
        for item in dicts_of(status, "instances"):
            row = self._rows.get(text_of(item, "instance", "?"))
            if row is None or row.generation != text_of(item, "generation", "-"):
                continue
            row.weight, row.left = percent_of(item, "weight"), text_of(item, "connections", "-")
            if row.state == "freezing" and item.get("state") == "standby":
                row.state, row.since = "standby", now

    @property
    def ready(self) -> int:
        """The number of the app's own instances that serve."""
        return sum(row.state in SERVING for name, row in self._rows.items() if name.isdecimal())

    @property
    def new(self) -> int:
        """The number of the app's own instances of the new generation that serve."""
        own = (row for name, row in self._rows.items() if name.isdecimal())
        return sum(row.state in SERVING and row.generation == str(self.target) for row in own)

    def _left(self, now: float) -> str:
        """Return how long the rest will take, if the rollout continues as it has begun, or else as instances booted so
        far; nothing if that is not known."""
        rest = self._desired - self.new
        if self.phase != "rolling" or rest <= 0:
            return ""
        each = (self._latest - self._began) / self.new if self.new else self._boot
        left = rest * each - (now - (self._latest if self.new else self._began))
        return f"{duration(left)} left" if left > 0 else ""

    def apply(self, event: Mapping[str, Any], now: float) -> None:
        """Take in an event; an unknown one changes nothing."""
        self._now = now
        self.origin = text_of(event, "from", self.origin)
        reason = text_of(event, "reason")
        match event.get("event"):
            case "started":
                self.release = release_change(event)
                self._desired = number_of(event, "desired", self._desired)
            case "instance":
                self._instance(event, instance_words(event), now)
            case "probe":
                row = self._rows.get(_row_name(text_of(event, "process"), event))
                if row is not None:
                    row.reason = f"waiting for its probe: {reason}"
            case "waiting":
                row = self._rows.get(_row_name(text_of(event, "process"), event))
                if row is not None:
                    row.reason = f"waiting: {reason}"
                elif self.phase == "rolling":
                    self.note = f"waiting for {reason}"  # until the next change of an instance
            case "failed-gate":
                self._failure(event)
            case "rolling-back" | "paused":
                self.phase, self.note = text_of(event, "event"), reason
                self.how = how_of(event, self.app) if self.phase == "paused" else ""
            case "resumed":
                self.phase, self.note = "rolling", ""
            case "closing":
                self.phase, self.note = "closing", reason
            case "smoke" if self.phase == "rolling":
                started = event.get("state") == "started"
                self.note = smoke_words(event).removesuffix(": started") if started else ""
            case "analysis" if self.phase == "rolling":
                self.note = f"analysis: {reason}" if event.get("state") == "waiting" else ""
            case "warning":
                self.warning = " ".join([reason, *(line.strip() for line in journal_lines(event, 1))])
            case "hook":
                self._hook(event, now)
            case "daemon-lost":
                self.lost = event_line(event).removeprefix(f"{self.app}: ")
            case "daemon-back":
                self.lost = ""
            case "finished":
                self.phase, self.ended, self.note = text_of(event, "result", "finished"), True, reason
                if failure := failure_of(event):  # the sentence about the end has it
                    self.failures.pop(_name(failure, failure), None)

    def _instance(self, event: Mapping[str, Any], reason: str, now: float) -> None:
        if self.note.startswith("waiting for "):
            self.note = ""
        name, state = _row_name(text_of(event, "process"), event), text_of(event, "state", "?")
        before = self._rows.get(name)
        generation = text_of(event, "generation", before.generation if before else "-")
        row = Row(generation, state, now, reason)
        if before is not None and before.generation == generation:
            row.since = before.since if before.state == state else now
            row.weight, row.left = ("", "") if state in STOPPED else (before.weight, before.left)
        self._rows[name] = row
        if state in SERVING and generation == str(self.target) and name.isdecimal():
            self._latest = now
        if state == "failed":
            self._failure(event)

    def _failure(self, event: Mapping[str, Any]) -> None:
        """Keep the newest failure of each instance: its state and its gate report the same one."""
        reason, failure = text_of(event, "reason", "failed"), failure_of(event)
        name = _name(event, failure)
        if process := text_of(event, "process"):
            name = f"{process}@{name}"
        missing = facts(failure, f"instance {name} {reason}") if failure else ""
        self.failures.pop(name, None)
        self.failures[name] = f"{reason} ({missing})" if missing else reason
        self.journal = journal_lines(failure, MAX_JOURNAL) or self.journal

    def _hook(self, event: Mapping[str, Any], now: float) -> None:
        """Keep the hook that runs, and one that failed."""
        self.hook = (hook_words(event), now) if event.get("state") == "started" else None
        if event.get("state") == "failed":
            self.failures["hook"] = hook_words(event)
            self.journal = journal_lines(event, MAX_JOURNAL)

    def lines(self, now: float, *, width: int, height: int, paint: Paint) -> list[str]:
        """Return at most `height` lines of at most `width` columns."""
        end = self._now if self.ended else now
        top = [self._title(end, width, paint)]
        top += ["  " + cut(self.release, width - 2, left=True)] if self.release else []
        top += [paint("busy", line) for line in indented(self.warning, width)]
        top += ["  " + cut(self.lost, width - 2)] if self.lost and not self.ended else []
        shown = self.ended or any(self.note in failure for failure in self.failures.values())
        top += ["  " + cut(self.note, width - 2)] if self.note and not shown else []
        if self.phase == "paused":
            top += [line for words in (self.how, self._canary) for line in indented(words, width)]
        top += [] if self.ended else ["  " + cut(line, width - 2) for line in fitted(self._weights, width)]
        top += ["  " + cut(f"{self.hook[0]} {duration(now - self.hook[1])} ago", width - 2)] if self.hook else []
        bottom = [paint("bad", line) for failure in self._failures() for line in indented(failure, width)]
        if not self.ended:  # at the end the command prints it
            bottom += [cut(line, width) for line in self.journal][: max(height // 2 - len(bottom), 0)]
        room = height - len(top) - len(bottom) - 2
        return within([*top, *self._instances(now, room, width, paint), *bottom], max(height, 0), width)

    def _failures(self) -> list[str]:
        """Return the failures, each with its instance."""
        return [
            reason if not name.isdecimal() or reason.startswith(f"instance {name} ") else f"instance {name}: {reason}"
            for name, reason in self.failures.items()
        ][-MAX_FAILURES:]

    def _title(self, now: float, width: int, paint: Paint) -> str:
        origin, target = self.origin, str(self.target)
        way = f"generation {origin} → {target}" if origin not in ("", "0", target) else f"generation {target}"
        style = {"succeeded": "good", "rolling": "strong", "paused": "busy", "closing": "strong"}.get(self.phase, "bad")
        ready = ready_words({"ready": self.ready, "desired": self._desired})
        pieces = [self.app, way, self.phase, *([] if self.ended else [f"{self.new} of {self._desired} new"]), ready]
        pieces += [duration(now - self._began)]
        if left := self._left(now):
            longer = [*pieces, left]
            pieces = longer if columns("  ".join(longer)) <= width else pieces
        plain = "  ".join(pieces)
        if columns(plain) > width:
            return cut(plain, width)
        pieces[0], pieces[2] = paint("strong", pieces[0]), paint(style, pieces[2])
        return "  ".join(pieces)

    def _instances(self, now: float, room: int, width: int, paint: Paint) -> list[str]:
        """Return the table, sorted by instance; if there are too many, the important ones and a summary of the rest."""
        ordered = sorted(self._rows.items(), key=_order)
        stopped = [item for item in ordered if item[1].state in (("standby", "draining") if self.ended else STOPPED)]
        live = [item for item in ordered if item[1].state not in STOPPED]
        candidates = [*live, *stopped]
        heads = [*HEADS, *([WEIGHT, OPEN] if self._steered and not self.ended else [])]
        every = [self._row(name, row, now) for name, row in candidates]
        blocks = 1
        if len(candidates) > room:  # the reason why most instances stop is no reason to show fewer of them
            every = [cells | {REASON: Cell("")} if cells[REASON].text in USUAL else cells for cells in every]
        if any(cells[REASON].text for cells in every):
            heads.append(REASON)
        elif len(candidates) > room:
            blocks = blocks_within(heads, [[cells[head] for head in heads] for cells in every], width - 2)
        # trimmed() leaves out one item for the summary of the rest, which takes a whole line.
        places = room * blocks if len(candidates) <= room * blocks else (room - 1) * blocks + 1
        shown, rest = trimmed(candidates, places, _urgency)
        drawn = [self._row(name, row, now) for name, row in shown]
        heads, rows = in_blocks(heads, [[cells[head] for head in heads] for cells in drawn], blocks)
        lines = ["", *table(heads, rows, width=width, paint=paint, indent=2)] if rows else []
        if rest:
            sums = summed((row.state, row.generation) for _, row in rest)
            lines.append("  " + cut(sums, width - 2))
        return lines

    def _row(self, name: str, row: Row, now: float) -> dict[Column, Cell]:
        instance, generation, state, since = HEADS
        left = int(row.left) if row.left.isdecimal() and row.state in ("stopping", "freezing") else 0
        return {
            instance: Cell(name),
            generation: Cell(row.generation, "strong" if row.generation == str(self.target) else ""),
            state: Cell(row.state, STATE_STYLES.get(row.state, "")),
            since: Cell(duration(now - row.since) if row.since is not None else ""),
            WEIGHT: Cell(row.weight),
            OPEN: Cell(row.left),
            REASON: Cell(
                ", ".join(filter(None, (row.reason, left_words(left) if left else ""))),
                "bad" if row.state == "failed" else "",
            ),
        }


def _row_name(process: str, item: Mapping[str, Any]) -> str:
    """Return the name of an instance in the table: its number, and for another process type as in ``worker@1``."""
    number = text_of(item, "instance", "?")
    return f"{process}@{number}" if process else number


def _order(item: tuple[str, Row]) -> tuple[str, int, str]:
    process, _, number = item[0].rpartition("@")
    return (process, columns(number), number)


def _name(event: Mapping[str, Any], failure: Mapping[str, Any]) -> str:
    """Return what failed: an instance or, if there is none, a gate."""
    return text_of(event, "instance") or text_of(failure, "gate", "?")


def _urgency(item: tuple[str, Row]) -> tuple[float, ...]:
    """Return a sort key: failed, changing, the last changed, unchanged instances."""
    _, row = item
    return (3 if row.state in STOPPED else URGENCY.get(row.state, 2), -(row.since or 0.0))
