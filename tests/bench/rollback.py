"""Measures how long a bad generation serves after `deployd rollback`: shared, steered, and steered with standby.

Apps of 4 and 64 instances with a boot of one second and max_surge = "25%"; a release is rolled out, then rolled back
under load. The time is counted from the start of the command, and from its request on the bus. Many instances that boot
together share the processors, so the aim without standby depends on how long they took.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from deployd.api import Client
from tests.bench import rig
from tests.bench.figure import Figure, ratio
from tests.bench.timed import timed
from tests.demo.bus_monitor import CallMonitor
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.load.client import Load
from tests.load.record import Record
from tests.on_bus import run

ROUNDS = {4: 5, 64: 3}
BOOT = 1.0
RATE = 300
BACKLOG = 4096
BEFORE, AFTER = 0.3, 0.3
"""Seconds of load before and after the command, because the last response may come after its end."""
PACE: dict[str, Any] = {"max_surge": "25%", "max_unavailable": 0}
SHARED, STEERED, STANDBY = "shared", "steered", "steered, standby"
KINDS: dict[str, dict[str, Any]] = {
    SHARED: {"routing": "shared", "rollout": PACE},
    STEERED: {"routing": "steered", "rollout": PACE},
    STANDBY: {"routing": "steered", "rollout": PACE | {"standby": "1h", "standby_memory": "90%"}},
}

AIM = 100.0
"""Milliseconds from the start of the command to the last bad response, with standby."""
BOOTS, MARGIN = 1.2, 200.0
"""The same without standby: so many boots, and so many milliseconds."""


@dataclass(frozen=True, slots=True)
class RollbackTime:
    """The times of one rollback in seconds."""

    from_command: float
    from_call: float
    whole: float
    """Duration of the command."""
    boot: float
    """Median time from the start of a good instance until it was ready."""
    failed: int

    @classmethod
    def of(cls, record: Record, bad: int, began: float, called: float, whole: float, boot: float) -> RollbackTime:
        """Compute the times from a record that begins before the rollback and ends after it."""
        ends = [request.end for request in record.requests if request.generation == bad]
        if not ends:
            raise RuntimeError(f"generation {bad} served no request: there was nothing to roll back")
        last = max(ends)
        return cls(last - began, last - called, whole, boot, len(record.failed))


def measure(machine: Machine) -> list[Figure]:
    lines = []
    for instances, rounds in ROUNDS.items():
        machine.clean()
        lines += figures(instances, _rounds(machine, instances, rounds))
    return lines


def figures(instances: int, found: Mapping[str, list[RollbackTime]]) -> list[Figure]:
    """Return the lines of the table for apps of so many instances."""
    of = f"of {instances}"
    lines = []
    for kind, backs in found.items():
        boot = median(back.boot for back in backs) * 1000
        aim = AIM if kind == STANDBY else BOOTS * boot + MARGIN
        what = f"last bad response {of}, {kind}"
        lines += [
            Figure(f"{what}: after the command's start", median(back.from_command for back in backs) * 1000, "ms", aim),
            Figure("  after its request", median(back.from_call for back in backs) * 1000, "ms"),
            Figure("  end of the command", median(back.whole for back in backs) * 1000, "ms"),
        ]
        if kind != STANDBY:
            boots = [back.boot for back in backs]
            lines.append(Figure("  boot of a good instance", boot, "ms"))
            lines.append(Figure("  boots until the last", ratio([back.from_command for back in backs], boots), "times"))
    for kind, other in ((STEERED, SHARED), (STANDBY, SHARED), (STANDBY, STEERED)):
        pairs = [[back.from_command for back in found[each]] for each in (kind, other)]
        lines.append(Figure(f"last bad response {of}: {kind} against {other}", ratio(*pairs), "times", 1.0))
    lines.append(Figure(f"failed requests {of}", sum(back.failed for backs in found.values() for back in backs), "", 0))
    return lines


def _rounds(machine: Machine, instances: int, rounds: int) -> dict[str, list[RollbackTime]]:
    good, bad = (rig.release(machine, "back", name, boot=BOOT) for name in ("good", "bad"))
    apps = {kind: f"back{index}" for index, kind in enumerate(KINDS)}
    found: dict[str, list[RollbackTime]] = {kind: [] for kind in KINDS}
    for index, (kind, name) in enumerate(apps.items()):
        rig.deploy(machine, name, instances, good, rig.PORT + index, socket={"Backlog": BACKLOG}, **KINDS[kind])
    for number in range(rounds):
        for index, (kind, name) in enumerate(apps.items()):
            rig.rollout(machine, name, bad)
            found[kind].append(_back(machine, name, rig.PORT + index, kind))
        print(f"rollback: {instances} instances, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for name in apps.values():
        rig.remove(machine, name)
    return found


def _back(machine: Machine, name: str, port: int, kind: str) -> RollbackTime:
    status = run(_status(machine, name))
    if bool(status["standby"]) is not (kind == STANDBY):
        raise RuntimeError(f"{name} ({kind}) has in standby: {status['standby']}")
    environment = {"PYTHONPATH": str(IN_HOST)}
    python = str(machine.root.python)
    with (
        CallMonitor(machine, "Rollback") as monitor,
        Load.start(machine.popen, port, RATE, python=python, env=environment) as load,
    ):
        time.sleep(BEFORE)
        command = timed(machine, ["deployd", "rollback", name])
        time.sleep(AFTER)
        record = load.stop()
        called = monitor.called()
    if called is None:
        raise RuntimeError("the monitor of the bus did not show the request")
    boots = [item["boot"] for item in run(_status(machine, name))["instances"] if item["boot"] is not None]
    return RollbackTime.of(record, status["generation"], command.began, called, command.seconds, median(boots))


async def _status(machine: Machine, name: str) -> dict[str, Any]:
    async with await Client.connect(machine.bus_address) as client:
        return await client.status(name)
