"""The loads of the comparison: what clients send at all times, and what keeps all threads of a server busy."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from tests.host.root import IN_HOST
from tests.host.stage import PORT, Stage
from tests.load.client import Load
from tests.load.record import Record
from tests.servers.proof import Pressure
from tests.servers.reloads import capacity

LIVE = 1.0
"""Seconds in which all answers must come from a release that is live."""
RATE = 60
"""New connections a second."""


class Loads:
    """The load generator and the clients with long requests, while the context lasts."""

    def __init__(self, stage: Stage, pressure: Pressure) -> None:
        self.records: list[Record] = []
        self.expected: list[tuple[str, float, float]] = []
        argv = ["/usr/bin/python3", "-m", "tests.load.long_requests", "--port", str(PORT)]
        argv += ["--clients", str(pressure.clients), "--seconds", f"{pressure.seconds:g}"]
        pipe = subprocess.PIPE
        self.loads = [stage.load(pressure.rate, pressure.keepalive)]
        self.loads.append(Load(stage.machine.popen(argv, env={"PYTHONPATH": str(IN_HOST)}, stdin=pipe, stdout=pipe)))

    def expect(self, version: str, begin: float, end: float) -> None:
        """Demand that all answers in [begin, end) come from a version."""
        self.expected.append((version, begin, end))

    def failing(self) -> bool:
        """True if requests fail in the next LIVE seconds."""
        before = self.loads[0].progress()["failed"]
        time.sleep(LIVE)
        return self.loads[0].progress()["failed"] > before

    def __enter__(self) -> Loads:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if kind is None:
                self.records = [load.stop() for load in self.loads]
        finally:
            for load in self.loads:
                load.__exit__()
        for version, begin, end in self.expected:
            answers = self.records[0].window(begin, end).requests if self.records else ()
            found = {answer.version for answer in answers if not answer.failed}
            assert found == {version}, f"{version} was released, and {found} answered"


def saturation(stage: Stage) -> Load:
    """Start clients that keep all threads of the server busy, each request on a new connection."""
    options = ("--close", "--path", f"/slow?seconds={capacity.SECONDS:g}")
    return start(stage, 0, capacity.CLIENTS, options)


def steady(stage: Stage) -> Load:
    """Start new connections at a rate."""
    return start(stage, RATE, 0, ())


def start(stage: Stage, rate: float, keepalive: int, options: Sequence[str]) -> Load:
    """Start a load that does not wait for answers, because after a bad release there may be none."""
    popen, environment = stage.machine.popen, {"PYTHONPATH": str(IN_HOST)}
    python = "/usr/bin/python3"
    load = Load.start(popen, PORT, rate, keepalive, options=options, python=python, ready_within=None, env=environment)
    load.progress(within=30)  # it has begun
    return load
