"""Compares rollouts under load with the reference supervisor: their duration, and what the clients notice.

Four instances with a boot of one second and responses of 5 ms get 300 new connections per second, in place and with
surge; deployd and the reference alternate.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import rig
from tests.bench.figure import Figure, ratio
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.load.client import Load
from tests.load.record import Record

INSTANCES, BOOT, HANDLER_MS, RATE = 4, 1.0, 5, 300
ROUNDS = 3
BACKLOG = 4096
BEFORE = 5.0
REFERENCE_PORT = rig.PORT + 1

AIM_TIME = 1.05
AIM_SAME = 1.1
"""The result of the reference itself: no measurable difference."""


@dataclass(frozen=True, slots=True)
class Run:
    """One rollout: its duration, and ratios of during to before.

    The requests themselves are not kept, because the garbage collector would scan thousands of objects during the next
    run.
    """

    seconds: float
    failed: int
    p99: float
    gap: float

    @classmethod
    def of(cls, seconds: float, record: Record) -> Run:
        before, during = record.between("began", "roll-start"), record.between("roll-start", "roll-end")
        # The gap is a maximum, so windows of the same length are compared.
        same = before.window(max(before.start, before.end - (during.end - during.start)), before.end)
        p99 = during.percentile(99) / before.percentile(99)
        return cls(seconds, len(during.failed), p99, during.longest_gap() / same.longest_gap())


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    releases = [rig.release(machine, "loaded", name, boot=BOOT, handler_ms=HANDLER_MS) for name in ("a", "b")]
    return [
        *_compare(machine, releases, "in place", rig.IN_PLACE),
        *_compare(machine, releases, "with surge", rig.SURGE),
    ]


def _compare(machine: Machine, releases: list[Path], kind: str, pace: dict[str, Any]) -> list[Figure]:
    rig.deploy(machine, "loaded", INSTANCES, releases[0], rollout=pace, socket={"Backlog": BACKLOG})
    ours, theirs = [], []
    with _reference(machine, releases[0], pace) as roll:
        for number in range(ROUNDS):
            new = releases[(number + 1) % 2]
            theirs.append(_under_load(machine, REFERENCE_PORT, lambda new=new: roll(new)))  # type: ignore[misc]
            ours.append(_under_load(machine, rig.PORT, lambda new=new: rig.rollout(machine, "loaded", new).whole))  # type: ignore[misc]
    rig.remove(machine, "loaded")
    times = [[run.seconds for run in runs] for runs in (ours, theirs)]
    failed = sum(run.failed for run in ours)
    return [
        Figure(f"time until all is new {kind}, against the reference", ratio(*times), "times", AIM_TIME),
        Figure(f"  of deployd {kind}", median(times[0]), "s"),
        Figure(f"  of the reference {kind}", median(times[1]), "s"),
        Figure(f"failed requests {kind}", failed, "", 0),
        Figure(f"p99 during against before {kind}", median(run.p99 for run in ours), "times", AIM_SAME),
        Figure(f"  of the reference {kind}", median(run.p99 for run in theirs), "times"),
        Figure(f"longest gap during against before {kind}", median(run.gap for run in ours), "times", AIM_SAME),
        Figure(f"  of the reference {kind}", median(run.gap for run in theirs), "times"),
    ]


def _under_load(machine: Machine, port: int, roll: Callable[[], float]) -> Run:
    environment = {"PYTHONPATH": str(IN_HOST)}
    with Load.start(machine.popen, port, RATE, python=str(machine.root.python), env=environment) as load:
        load.mark("began")
        time.sleep(BEFORE)  # the steady state to be measured
        load.mark("roll-start")
        seconds = roll()
        load.mark("roll-end")
        record = load.stop()
    return Run.of(seconds, record)


@contextmanager
def _reference(machine: Machine, release: Path, pace: dict[str, Any]) -> Iterator[Callable[[Path], float]]:
    """Run the reference supervisor with the same app; yield a function that rolls it out and returns the seconds."""
    link = machine.path("/srv") / "loaded" / "current"

    def lead(to: Path) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(to)

    lead(release)
    script = str(IN_HOST / "tests/bench/reference.py")
    argv = [str(machine.root.python), script, str(REFERENCE_PORT), str(INSTANCES), str(pace["max_surge"])]
    argv += [str(BACKLOG), "/srv/loaded/current", "/usr/bin/python3", "app.py"]
    process = machine.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None

    def expect(word: str) -> None:
        line = process.stdout.readline().strip() if process.stdout else ""
        if line != word:
            raise RuntimeError(f"the reference supervisor printed {line!r}, not {word!r}")

    def roll(to: Path) -> float:
        lead(to)
        assert process.stdin is not None
        asked = time.monotonic()
        process.stdin.write("\n")
        process.stdin.flush()
        expect("rolled")
        return time.monotonic() - asked

    try:
        expect("ready")
        yield roll
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(rig.LIMIT)
