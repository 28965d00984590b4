"""The final table of a demonstration: steady state, each marked span, and the whole run."""

import math
from dataclasses import dataclass

from tests.load.record import Record

HEADINGS = ("", "requests", "failed", "p50 ms", "p99 ms", "slowest ms", "longest gap ms")


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    record: Record

    def cells(self) -> tuple[str, ...]:
        slowest = self.record.slowest
        seconds = (
            self.record.percentile(50),
            self.record.percentile(99),
            slowest.latency if slowest else math.nan,
            self.record.longest_gap(),
        )
        return (self.name, f"{len(self.record):,}", f"{len(self.record.failed):,}", *map(milliseconds, seconds))


def milliseconds(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1000:.1f}"


def steady_state(record: Record) -> Record:
    """Return the record from the mark `ready`, if there is one, to the first span."""
    ready = next((mark.at for mark in record.marks if mark.name == "ready"), record.start)
    return record.window(ready, min((span.start for span in record.spans()), default=record.end))


def rows(record: Record) -> list[Row]:
    spans = [Row(span.name, record.window(span.start, span.end)) for span in record.spans()]
    return [Row("steady state", steady_state(record)), *spans, Row("whole run", record)]


def align(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


def render(record: Record) -> str:
    """Return the table, followed by failures by outcome and overflows of the accept queue, if any."""
    lines = [HEADINGS, *(row.cells() for row in rows(record))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = ["  ".join(map(align, line, widths, range(len(line)))) for line in lines]
    failed = record.where(lambda request: request.failed).by_outcome()
    if failed:
        text.append("failed: " + ", ".join(f"{count:,} {outcome}" for outcome, count in failed.most_common()))
    if record.facts.get("listen_overflows"):
        text.append(f"accept queue overflowed: {record.facts['listen_overflows']:,} times")
    return "\n".join(line.rstrip() for line in text) + "\n"
