"""Measures the idle daemon: its memory after some rollouts, and its wake-ups."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from deployd.instances.listening import INTERVAL
from tests.bench import rig
from tests.bench.figure import Figure
from tests.host.machine import Machine

AIM_MEMORY = 40.0
ROLLOUTS = 5
WATCHDOG = 6.0
"""Seconds; half of it is a part of INTERVAL, as with the default of 30: the daemon wakes for both at once."""
WINDOW = 20.0
LOOK = 6
"""Wake-ups of one look, with those of its thread."""
DROP_IN = "/etc/systemd/system/deployd.service.d/bench.conf"


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    with known_watchdog(machine):
        rig.deploy(machine, "demo", 4, rig.release(machine, "demo", "v1"))
        fresh = rig.memory(machine)
        for _ in range(ROLLOUTS):
            rig.restart(machine, "demo")
        used = rig.memory(machine)
        found = wakeups(machine, WINDOW)
        rig.remove(machine, "demo")
    return [
        Figure(f"the daemon's memory after {ROLLOUTS} rollouts (RSS)", used["Rss"], "MB", AIM_MEMORY),
        Figure("  its proportional share (PSS)", used["Pss"], "MB"),
        Figure("  before them (RSS)", fresh["Rss"], "MB"),
        Figure(f"wake-ups in {WINDOW:g} s of idleness", found, "", for_watchdog(WINDOW) + for_looks(WINDOW)),
    ]


@contextmanager
def known_watchdog(machine: Machine) -> Iterator[None]:
    """Run the daemon with a watchdog of WATCHDOG seconds."""
    machine.write(DROP_IN, f"[Service]\nWatchdogSec={WATCHDOG:g}\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "deployd"])
    yield
    machine.path(DROP_IN).unlink()
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "deployd"])


def for_watchdog(seconds: float) -> float:
    """Return the wake-ups for the watchdog, two per timeout. A window may begin just before one."""
    return seconds / (WATCHDOG / 2) + 1


def for_looks(seconds: float) -> float:
    """Return the wake-ups for looks at listening sockets. A window may begin just before one."""
    return LOOK * ceil(seconds / INTERVAL)


def wakeups(machine: Machine, seconds: float) -> float:
    """Return the number of voluntary context switches of the daemon's threads within a window from now on."""
    process = rig.daemon(machine)
    time.sleep(1)  # until the effects of the measurement itself are over
    before = _switches(process)
    time.sleep(seconds)
    return _switches(process) - before


def _switches(process: Path) -> int:
    statuses: list[Any] = [path.read_text() for path in process.glob("task/*/status")]
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)$", text, re.MULTILINE)[0]) for text in statuses)
