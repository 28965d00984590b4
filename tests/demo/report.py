"""The final tables, and the same data as one JSON object. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deployd_cli.text.paint import RESULT_STYLES, Paint
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.words import duration
from tests.demo.evidence import Evidence, Run
from tests.load.table import HEADINGS, Row

LATE_MS = 50.0  # a generator later than this measures the machine, not the application
SLOWER = 3.0  # times the p50 of the steady state; less may be due to a busy machine


def load_table(evidence: Evidence, width: int, paint: Paint) -> list[str]:
    """Return the table of what the clients observed."""
    rows = [Row("steady state", evidence.steady)]
    rows += [Row(run.step.name, evidence.during(run)) for run in evidence.runs]
    rows += [Row("whole run", evidence.record)]
    heads = [Column(HEADINGS[0]), *(Column(heading, number=True) for heading in HEADINGS[1:])]
    return table(heads, map(_load_row, rows), width=width, paint=paint, indent=2)


def _load_row(row: Row) -> list[Cell | str]:
    name, requests, failed, *rest = row.cells()
    return [name, requests, Cell(failed, "bad" if row.record.failed else "good"), *rest]


STEPS = [
    Column(""),
    Column("took", number=True),
    Column("least ready", number=True),
    Column("untouched", number=True),
    Column("replaced in order", shrinks=True),
    Column("result"),
]


def step_table(evidence: Evidence, width: int, paint: Paint) -> list[str]:
    """Return the table of what systemd observed, with the result in deployd's history."""

    def rows() -> Iterable[list[Cell | str]]:
        for run in evidence.runs:
            floor, result = evidence.floor(run), str(evidence.generation(run).get("result", "unknown"))
            yield [
                run.step.name,
                duration(run.seconds),
                Cell(f"{floor} of {evidence.settings.instances}", "" if floor >= evidence.settings.floor else "bad"),
                f"{run.untouched} of {len(run.before)}",
                " ".join(map(str, evidence.replaced(run))) or "-",
                Cell(result, RESULT_STYLES.get(result, "") if result != run.step.result else ""),
            ]

    return table(STEPS, rows(), width=width, paint=paint, indent=2)


def notes(evidence: Evidence) -> list[str]:
    """Return notes of one line each."""
    before, after = evidence.listen
    lines = [
        f"Accept queue, before → after: ListenOverflows {before.overflows} → {after.overflows}, "
        f"ListenDrops {before.drops} → {after.drops}"
    ]
    for run in evidence.runs:
        slower = evidence.during(run).percentile(50) / evidence.steady.percentile(50)
        if slower > SLOWER:
            lines.append(f"{run.step.name}: responses took {slower:.0f} times as long as in steady state (p50).")
    lag = evidence.record.lag() * 1000
    if lag > LATE_MS:
        lines.append(f"The machine was busy: the load generator itself was up to {lag:.0f} ms late (p99).")
    return lines


def as_json(evidence: Evidence) -> dict[str, Any]:
    before, after = evidence.listen
    return {
        "ok": evidence.holds,
        "requests": len(evidence.record),
        "failed": len(evidence.record.failed),
        "floor": evidence.timeline.floor(evidence.record.start, evidence.record.end),
        "whole": evidence.record.summary(),
        "steady": evidence.steady.summary(),
        "steps": [_step(evidence, run) for run in evidence.runs],
        "listen_overflows": [before.overflows, after.overflows],
        "listen_drops": [before.drops, after.drops],
        "checks": [{"holds": check.holds, "text": check.text} for check in evidence.checks()],
    }


def _step(evidence: Evidence, run: Run) -> dict[str, Any]:
    return {
        "name": run.step.name,
        "command": list(run.step.command),
        "exit_status": run.status,
        "seconds": round(run.seconds, 3),
        "floor": evidence.floor(run),
        "untouched": run.untouched,
        "replaced": evidence.replaced(run),
        "result": evidence.generation(run).get("result"),
        "load": evidence.during(run).summary(),
    }
