"""Restarts units one by one, to measure systemd alone: over one D-Bus connection, or by command."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Sequence

from deployd.bus import Bus, Signal
from tests.bench.rig import LIMIT
from tests.host.machine import Machine
from tests.on_bus import run

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"


def over_bus(machine: Machine, units: Sequence[str]) -> float:
    """Return the seconds for RestartUnit of each unit and the end of its job, with deployd stopped meanwhile."""
    machine.run(["systemctl", "stop", "deployd"])
    try:
        return run(_over_bus(machine.bus_address, units))
    finally:
        machine.run(["systemctl", "start", "deployd"])
        machine.run(["deployd", "status"])


def by_command(machine: Machine, units: Sequence[str]) -> float:
    """Return the seconds for a `systemctl restart` of each unit."""
    script = f"for unit in {shlex.join(units)}; do systemctl restart $unit || exit; done"
    machine.run(["systemctl", "stop", "deployd"])
    try:
        began = time.monotonic()
        machine.run(["/bin/sh", "-c", script], timeout=LIMIT)
        return time.monotonic() - began
    finally:
        machine.run(["systemctl", "start", "deployd"])
        machine.run(["deployd", "status"])


async def _over_bus(address: str, units: Sequence[str]) -> float:
    bus = await Bus.connect(address)
    ended: dict[str, str] = {}
    news = asyncio.Event()

    def on_signal(signal: Signal) -> None:
        ended[signal.body[1]] = signal.body[3]
        news.set()

    await bus.subscribe(NAME, on_signal, interface=MANAGER, member="JobRemoved", signature="uoss")
    await bus.call(NAME, PATH, MANAGER, "Subscribe")
    try:
        began = time.monotonic()
        for unit in units:
            [job] = await bus.call(NAME, PATH, MANAGER, "RestartUnit", "ss", [unit, "replace"])
            while job not in ended:
                news.clear()
                await asyncio.wait_for(news.wait(), LIMIT)
            if ended[job] != "done":
                raise RuntimeError(f"the restart of {unit} ended with {ended[job]}")
        return time.monotonic() - began
    finally:
        await bus.close()
