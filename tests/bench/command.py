"""Measures the time from the start of `deployd rollback` until its request is on the bus, and its parts.

The rollback is refused, because there is no earlier generation, so it can be repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median

from tests.bench import rig
from tests.bench.figure import Figure, ratio
from tests.bench.startup import slowest_imports
from tests.bench.timed import Timed, timed
from tests.demo.bus_monitor import CallMonitor
from tests.host.machine import Machine

ROUNDS = 15
NAME = "asked"
CALL = ["org.deployd1", f"/org/deployd1/app/{NAME}", "org.deployd1.App", "Rollback", "ta{sv}", "0", "0"]


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    rig.deploy(machine, NAME, 4, rig.release(machine, NAME, "v1"), routing="steered")
    requests, calls, bare = [], [], []
    with CallMonitor(machine, "Rollback") as request:
        for _ in range(ROUNDS):
            requests.append(_until(_refused(machine, ["deployd", "rollback", NAME]), request))
            calls.append(_until(_refused(machine, ["busctl", "--system", "call", *CALL]), request))
            bare.append(timed(machine, [machine.python, "-c", "pass"]).seconds)
    for line in slowest_imports(machine, "rollback", NAME):
        print(line, file=sys.stderr)
    rig.remove(machine, NAME)
    return [
        Figure(
            "deployd rollback until its request is on the bus, against python3 -c pass", ratio(requests, bare), "times"
        ),
        Figure("  of its request", median(requests) * 1000, "ms"),
        Figure("  of python3 -c pass, to its end", median(bare) * 1000, "ms"),
        Figure("  of busctl call", median(calls) * 1000, "ms"),
    ]


def _refused(machine: Machine, argv: Sequence[str]) -> Timed:
    run = timed(machine, argv, check=False)
    if not run.status:
        raise RuntimeError(f"{' '.join(argv)} was not refused")
    return run


def _until(run: Timed, monitor: CallMonitor) -> float:
    called = monitor.called()
    if called is None:
        raise RuntimeError("the monitor of the bus did not show the call")
    return called - run.began
