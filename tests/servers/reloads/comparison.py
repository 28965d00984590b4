"""Measures one way of releasing on a clean host: good releases, the capacity meanwhile, and two bad releases."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from tests.host.machine import Machine
from tests.host.stage import Stage
from tests.load.record import Kind
from tests.servers.proof import Pressure
from tests.servers.reloads import capacity
from tests.servers.reloads.capacity import Capacity
from tests.servers.reloads.loads import LIVE, Loads, saturation, steady
from tests.servers.reloads.rollouts import Rollouts
from tests.servers.reloads.row import Harm, Row
from tests.servers.reloads.service import Service
from tests.servers.reloads.way import Way
from tests.servers.result import Counted
from tests.servers.server import Behaviour

BOOT = 1.0
"""Seconds that the app takes to load."""
REST = BOOT + 1.0
"""Seconds after a release in which the last new worker gets ready: most commands do not wait for that."""
WATCH = 10.0
"""Seconds after a bad release until somebody returns to the one before."""
PATIENCE = 180.0
"""Seconds for the old processes to end. Clients that keep their connections can make it long."""
RETURN = 30.0
"""The same for a return, after which there may be nothing to replace."""
ATTEMPTS = 3
"""A return may have to be repeated, if the server is still busy with the bad release; the last attempt is a restart."""
STEADY = 3.0
"""Seconds of the usual capacity before a change."""


class Contender(Protocol):
    """A server with its way of releasing."""

    def prepare(self) -> str: ...
    def release(self, version: str, behaviour: Behaviour = Behaviour.GOOD) -> int: ...
    def back(self, version: str, *, restart: bool) -> int: ...
    def settle(self, patience: float) -> bool: ...


@dataclass(slots=True)
class Comparison:
    """One contender."""

    stage: Stage
    contender: Contender
    workers: bool
    """True if answers say which worker gave them."""
    pressure: Pressure
    watch: float
    serving: str = "v1"
    took: list[float] = field(default_factory=list)

    def change(self) -> tuple[float, float]:
        """Release the other good version; return the beginning and the end of the time in which it must be live."""
        version = "v2" if self.serving == "v1" else "v1"
        began = time.monotonic()
        status = self.contender.release(version)
        assert status == 0, f"a good release ended with status {status}"
        assert self.contender.settle(PATIENCE), f"an old process is still there after {PATIENCE:g} s"
        self.took.append(time.monotonic() - began)
        self.serving = version
        time.sleep(REST)
        live = time.monotonic()
        time.sleep(LIVE)
        return live, time.monotonic()

    def good(self, count: int) -> tuple[Counted, float, Capacity]:
        """Release good versions; return the requests, the longest time without an answer, and the least answers."""
        with Loads(self.stage, self.pressure) as loads:
            time.sleep(STEADY)
            change = time.monotonic()
            for _ in range(count):
                window = self.change()
                loads.expect(self.serving, *window)
        short = loads.records[0]
        least = capacity.of_change(short.of_kind(Kind.FRESH), change, False)
        return Counted.of(*loads.records), short.window(change, short.end).longest_gap(), least

    def capacity(self) -> Capacity:
        """Release a good version while all workers are busy; return how many workers answered at the least."""
        with saturation(self.stage) as load:
            time.sleep(capacity.SETTLED + STEADY)
            change = time.monotonic()
            self.change()
            record = load.stop()
        return capacity.of_change(record, change, True)

    def bad(self, behaviour: Behaviour) -> Harm:
        """Release a bad version, wait, and return to the good one."""
        with Loads(self.stage, self.pressure) as loads:
            usual = self.serving_now()
            began = time.monotonic()
            status = self.contender.release(str(behaviour), behaviour)
            time.sleep(self.watch)
            end = time.monotonic()
            left = Capacity(min(self.serving_now(), usual), usual, self.workers)
            returned = time.monotonic()
            for attempt in range(1, ATTEMPTS + 1):
                back_status = self.contender.back(self.serving, restart=attempt == ATTEMPTS)
                self.contender.settle(RETURN)
                time.sleep(REST)
                if not loads.failing():
                    break
        harm = Counted.of(*(record.window(began, end) for record in loads.records))
        after = [request.start for record in loads.records for request in record.failed if request.start >= returned]
        return Harm(
            str(behaviour),
            status,
            harm.requests,
            harm.failed,
            harm.outcomes,
            left,
            back_status,
            attempt,
            round(max(after, default=returned) - returned, 1),
        )

    def serving_now(self) -> int:
        """Return how many workers answer while all are busy, or how many answers there are."""
        with saturation(self.stage) if self.workers else steady(self.stage) as load:
            time.sleep(2 * capacity.SETTLED + STEADY)
            record = load.stop()
        return capacity.usual(record, self.workers)


def measure(machine: Machine, way: Way, deployd: bool, releases: int, pressure: Pressure, watch: float = WATCH) -> Row:
    """Return the row of a way, or of deployd with the same server, on a host that is cleaned before."""
    machine.clean()
    stage = Stage(machine)
    try:
        contender: Contender = Rollouts(stage, way, BOOT) if deployd else Service(stage, way, BOOT)
        version = contender.prepare()
        comparison = Comparison(stage, contender, way.workers, pressure, watch)
        during, gap, least = comparison.good(releases)
        seconds = sum(comparison.took) / len(comparison.took)
        if way.workers:
            least = comparison.capacity()
        return Row(
            way=way.name,
            title=f"{way.server.title}, deployd" if deployd else way.title,
            version=version,
            deployd=deployd,
            releases=releases,
            during=during,
            gap=round(gap, 2),
            seconds=round(seconds, 1),
            capacity=least,
            crash=comparison.bad(Behaviour.CRASH),
            errors=comparison.bad(Behaviour.ERRORS),
            settings="" if deployd else way.settings,
        )
    finally:
        stage.close()
