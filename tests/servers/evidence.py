"""What is kept of a row whose requests failed: the failed requests and the journal of the host, by one clock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.host.machine import Machine
from tests.load.record import Record


def keep(directory: Path, name: str, machine: Machine, records: Iterable[Record]) -> None:
    """Write NAME.requests and NAME.journal, with times in CLOCK_MONOTONIC seconds."""
    directory.mkdir(parents=True, exist_ok=True)
    failed = sorted((request for record in records for request in record.failed), key=lambda request: request.sent)
    lines = [
        f"{item.sent:.3f} {item.end:.3f} {item.kind} {item.outcome} {item.detail} status={item.status}"
        f" instance={item.instance} generation={item.generation} pid={item.pid} nth={item.nth}\n"
        for item in failed
    ]
    (directory / f"{name}.requests").write_text("".join(lines))
    journal = machine.run(["journalctl", "--output=short-monotonic", "--no-pager"]).stdout
    (directory / f"{name}.journal").write_text(journal)
