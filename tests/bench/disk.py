"""What waiting for the disk adds to a replaced instance. The host's files lie in memory, where fsync is free.

The very writes of a replacement, through the daemon's own code, in a directory of this machine's disk and in one
that never waits.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from deployd.model.app import App, Listen, ListenKind
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Rollout
from deployd.state.disk import Disk
from deployd.state.history import History
from deployd.state.pins import Pins
from tests.bench.figure import Figure
from tests.host.machine import Machine
from tests.host.root import CACHE

APP = App("app", "/srv/app", ("/bin/true",), (Listen(ListenKind.TCP, "8080"),), instances=100)
ROUNDS, REPLACED = 5, 40


class Careless(Disk):
    """The same writes without waiting."""

    def sync(self, directory: Path) -> None:
        return


def measure(_machine: Machine) -> list[Figure]:
    waits, goes_on = [], []
    for _ in range(ROUNDS):
        waits.append(_replacements(Disk()))
        goes_on.append(_replacements(Careless()))
    return [
        Figure("writes per replaced instance on this disk", median(waits), "ms"),
        Figure("  the same without waiting for pins to be on it", median(goes_on), "ms"),
    ]


def _replacements(disk: Disk) -> float:
    """Milliseconds per instance for what the daemon writes when it replaces one."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        state = Path(directory)
        pins, history = Pins(state, disk), History(state)
        history.open()
        for number in (1, 2):
            pins.write_generation("app", number, {"run": ("", 0o755)}, "/srv/app")
        history.begin(
            Generation("app", 2, "/srv/app", "", Cause.ROLLOUT, Result.RUNNING, "", time.time(), settings=APP),
            rollout := Rollout("app", 1, 2, started=time.time()),
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
