"""Measures how the cost of a replaced instance, and of an applied app, grows with the number of instances and apps."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench import restarts, rig
from tests.bench.figure import Figure
from tests.host.eavesdropping import TO_SYSTEMD, heard
from tests.host.machine import Machine
from tests.on_bus import run
from tests.sample_apps.release import app_file

ROUNDS = {4: 25, 100: 3, 300: 2, 1000: 1}
STEERED = {4: 25, 100: 3, 300: 2}
APPS, OF, SOME = 100, 4, 10
"""Apps, instances of each, and how many of the first and of the last are compared."""
RELOADS = 5
RELEASE = Path("/srv/light")
FIRST_PORT = 20000

AIM_PROCESSOR, AIM_BEYOND, AIM_STEERED, AIM_APPLY = 8.0, 1.3, 1.5, 1.2
AIM_MEMORY, AIM_START = 60.0, 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians of rounds: milliseconds per instance. `bare` is that of RestartUnit over D-Bus."""

    wall: float
    processor: float
    bare: float


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    machine.path(RELEASE).mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    shared: dict[int, Cost] = {}
    for count, rounds in ROUNDS.items():
        name = _deploy_many(machine, count, "shared")
        shared[count] = cost = _cost(machine, name, count, rounds)
        figures += [
            Figure(f"deployd's CPU time per replaced instance of {count}", cost.processor, "ms", AIM_PROCESSOR),
            Figure(
                f"time per replaced instance of {count}, against RestartUnit", cost.wall / cost.bare, "", AIM_BEYOND
            ),
            Figure("  of the rollout", cost.wall, "ms"),
            Figure("  of RestartUnit", cost.bare, "ms"),
        ]
        if count == max(ROUNDS):
            figures.append(Figure(f"memory with {count} instances (RSS)", rig.memory(machine)["Rss"], "MB", AIM_MEMORY))
            figures.append(Figure(f"start of the daemon with {count} instances", _start(machine), "s", AIM_START))
        rig.remove(machine, name)
    for count, rounds in STEERED.items():
        name = _deploy_many(machine, count, "steered")
        cost = _cost(machine, name, count, rounds)
        figures += [
            Figure(
                f"steered against shared, time per instance of {count}", cost.wall / shared[count].wall, "", AIM_STEERED
            ),
            Figure("  deployd's CPU time per replaced instance", cost.processor, "ms"),
        ]
        rig.remove(machine, name)
    return figures + _apps(machine)


def _deploy_many(machine: Machine, count: int, routing: str) -> str:
    """Deploy an app of so many instances, half of them at a time, which is then restarted one by one in place."""
    name = f"{routing}{count}"
    fast = {"max_surge": 0, "max_unavailable": max(1, count // 2)}
    rig.deploy(machine, name, count, RELEASE, **rig.LIGHT, rollout=fast, routing=routing)
    text = app_file(name, RELEASE, rig.PORT, count, **rig.LIGHT, rollout=rig.IN_PLACE, routing=routing)
    machine.write(f"/etc/deployd/apps/{name}.toml", text)
    machine.run(["deployd", "apply", name], timeout=rig.LIMIT)
    return name


def _cost(machine: Machine, name: str, count: int, rounds: int) -> Cost:
    units = [f"{name}@{number}.service" for number in range(1, count + 1)]
    walls, bares, used = [], [], 0.0
    for _ in range(rounds):
        before = rig.processor(machine)
        walls.append(rig.restart(machine, name).events)
        used += rig.processor(machine) - before
        bares.append(restarts.over_bus(machine, units))
    scale = 1000 / count
    return Cost(median(walls) * scale, used / rounds * scale, median(bares) * scale)


def _start(machine: Machine) -> float:
    """Return the seconds from the start of the daemon until it has observed all instances: it is ready then."""
    machine.run(["systemctl", "stop", "deployd"])
    began = time.monotonic()
    machine.run(["systemctl", "start", "deployd"])
    return time.monotonic() - began


def _apps(machine: Machine) -> list[Figure]:
    walls, used, reloads, bare = [], [], [], []
    for number in range(APPS):
        if number in (1, APPS - 1):
            bare.append(median(_reload(machine) for _ in range(RELOADS)))
        before, began = rig.processor(machine), time.monotonic()
        reloads.append(run(_applied(machine, number)))
        walls.append(time.monotonic() - began)
        used.append((rig.processor(machine) - before) * 1000)
    before = rig.processor(machine)
    rig.restart(machine, "app0")
    restarted = (rig.processor(machine) - before) * 1000 / OF
    for number in range(APPS):
        rig.remove(machine, f"app{number}")
    first, last = slice(1, 1 + SOME), slice(-SOME, None)  # the very first one imports modules
    first_wall, last_wall = median(walls[first]), median(walls[last])
    return [
        Figure(
            f"apply of the last of {APPS} apps against the first",
            last_wall / first_wall,
            "",
            AIM_APPLY,
        ),
        Figure("  of systemctl daemon-reload, alone", bare[-1] / bare[0], ""),
        Figure("  without the time of one", (last_wall - bare[-1]) / (first_wall - bare[0]), "", AIM_APPLY),
        Figure("  in deployd's CPU time", median(used[last]) / median(used[first]), ""),
        Figure("  CPU time of the first", median(used[first]), "ms"),
        Figure("  daemon-reloads of each", max(reloads), "", 1.0),
        Figure(f"deployd's CPU time per replaced instance among {APPS} apps", restarted, "ms", AIM_PROCESSOR),
    ]


def _reload(machine: Machine) -> float:
    """Return the seconds of a daemon-reload: systemd reads all units again."""
    began = time.monotonic()
    machine.run(["systemctl", "daemon-reload"])
    return time.monotonic() - began


async def _applied(machine: Machine, number: int) -> int:
    """Apply an app, and return how many daemon-reloads that took."""
    async with heard(machine.bus_address, TO_SYSTEMD) as calls:
        await asyncio.to_thread(rig.deploy, machine, f"app{number}", OF, RELEASE, FIRST_PORT + number, **rig.LIGHT)
        return calls["Reload"]
