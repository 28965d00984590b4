"""Full load from `wrk`: clients that send as fast as they get responses, on new connections or on persistent ones."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.bench import programs
from tests.bench.timed import timed
from tests.host.machine import Machine
from tests.load.record import Kind

SCRIPT = "/srv/wrk.lua"
REPORT = """\
function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('{"requests": %d, "seconds": %.6f, "failed": %d}\\n',
    summary.requests, summary.duration / 1e6, failed))
end
"""


@dataclass(frozen=True, slots=True)
class FullLoad:
    each: float
    """Seconds per request: 1 / rate."""
    failed: int
    busy: float
    """CPU usage of wrk, 1 for one CPU."""


def run(machine: Machine, port: int, clients: int, seconds: float, kind: Kind, path: str = "/") -> FullLoad:
    """Run wrk on the host."""
    machine.write(SCRIPT, REPORT)
    argv = [*programs.command("wrk"), "--threads", "1", "--connections", str(clients), "--duration", f"{seconds:.0f}s"]
    argv += ["--script", SCRIPT]
    if kind is Kind.FRESH:
        argv += ["--header", "Connection: close"]
    done = timed(machine, [*argv, f"http://127.0.0.1:{port}{path}"])
    report = json.loads(done.output.splitlines()[-1])
    return FullLoad(report["seconds"] / report["requests"], report["failed"], done.busy)
