"""Measures the time that waiting for the disk adds per replaced instance. (On hosts, files are in memory.)

Carries out the writes of a replacement with the daemon's own code in a directory on this machine's disk, with and
without fsync.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from deployd.model.app import App, Listen, ListenKind
from deployd.model.clock import Timestamp
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Rollout
from deployd.state.disk import Disk
from deployd.state.ends import Beginning
from deployd.state.history import History
from deployd.state.pins import Pins
from tests.bench.figure import Figure
from tests.host.machine import Machine
from tests.host.root import CACHE

APP = App("app", "/srv/app", ("/bin/true",), (Listen(ListenKind.TCP, "8080"),), instances=100)
ROUNDS, REPLACED = 5, 40


class Careless(Disk):
    """A disk that does not wait for writes."""

    def sync(self, directory: Path) -> None:
        return


def measure(_machine: Machine) -> list[Figure]:
    synced, unsynced = [], []
    for _ in range(ROUNDS):
        synced.append(_replacements(Disk()))
        unsynced.append(_replacements(Careless()))
    return [
        Figure("writes per replaced instance on this disk", median(synced), "ms"),
        Figure("  the same without fsync of the pins", median(unsynced), "ms"),
    ]


def _replacements(disk: Disk) -> float:
    """Return the milliseconds per instance for the daemon's writes of a replacement."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        state = Path(directory)
        pins, history = Pins(state, disk), History(state)
        history.open()
        for number in (1, 2):
            pins.write_generation("app", number, {"run": ("", 0o755)}, "/srv/app")
        history.begin_together(
            [
                Beginning(
                    Generation("app", 2, "/srv/app", "", Cause.ROLLOUT, Result.RUNNING, "", time.time(), settings=APP),
                    rollout := Rollout("app", 1, 2, started=time.time()),
                )
            ],
            Timestamp.now(),
        )
        for number in range(1, REPLACED + 1):
            pins.pin("app", number, 1)
        began = time.perf_counter()
        for number in range(1, REPLACED + 1):
            history.progress(rollout, (number,), ())
            pins.unpin("app", number)
            pins.pin("app", number, 2)
            history.saw("app", 2, number, f"{number:032x}")
            history.progress(rollout, (number,), ())
        taken = time.perf_counter() - began
        history.close()
    return taken / REPLACED * 1000
