"""Measures the cost of steering in the daemon, which has nothing to do while two generations serve.

The CPU usage of the daemon with steered apps of 4 and 64 instances: during a paused rollout and after it, both under
load, and without connections. Finally its memory with many steered apps.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from pathlib import Path

from deployd.api import Client
from tests.bench import rig
from tests.bench.figure import Figure
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.load.client import Load
from tests.on_bus import run

SIZES = (4, 64)
APPS = 50
RATE = 200
WINDOW = 10.0
PACE = {"max_surge": "25%", "max_unavailable": 0}

AIM_IDLE = 0.1
AIM_MEMORY = 60.0


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    lines = []
    for instances in SIZES:
        lines += _processor(machine, instances)
    return [*lines, *_memory(machine)]


def _processor(machine: Machine, instances: int) -> list[Figure]:
    old, new = (rig.release(machine, "mixed", name) for name in ("old", "new"))
    rig.deploy(machine, "mixed", instances, old, routing="steered", rollout=PACE)
    environment = {"PYTHONPATH": str(IN_HOST)}
    python = str(machine.root.python)
    with Load.start(machine.popen, rig.PORT, RATE, python=python, env=environment) as load:
        run(_half(machine, "mixed", str(new)))
        paused = _used(machine)
        run(_whole(machine, "mixed"))
        finished = _used(machine)
        load.stop()
    idle = _used(machine)
    rig.remove(machine, "mixed")
    of = f"of {instances}"
    return [
        Figure(f"CPU usage of the daemon while two generations serve {of}", paused, "%", AIM_IDLE),
        Figure(f"  with one generation, {RATE}/s {of}", finished, "%"),
        Figure(f"  with one generation, without connections {of}", idle, "%", AIM_IDLE),
    ]


async def _half(machine: Machine, name: str, release: str) -> None:
    """Roll out until the first new instances serve, and pause by request.

    A pause_after of the app file would come with a share, and each generation would have a group of its own.
    """
    async with await Client.connect(machine.bus_address) as client, client.watch(name) as watch:
        generation, asked = await client.rollout(name, release=release), False
        async with aclosing(watch.until_finished(generation, deadline=rig.LIMIT)) as events:
            async for event in events:
                if event["event"] == "paused":
                    return
                if event.get("state") == "stopping" and not asked:
                    asked = True
                    await client.pause(name)
    raise RuntimeError(f"the rollout of {name} ended before it paused")


async def _whole(machine: Machine, name: str) -> None:
    """Resume the rollout, to its end."""
    async with await Client.connect(machine.bus_address) as client, client.watch(name) as watch:
        generation = (await client.status(name))["rollout"]["to"]
        await client.resume(name)
        async with aclosing(watch.until_finished(generation, deadline=rig.LIMIT)) as events:
            async for event in events:
                if event["event"] == "finished" and event["result"] != "succeeded":
                    raise RuntimeError(f"the rollout of {name} did not succeed: {event}")


def _used(machine: Machine) -> float:
    """Return the CPU usage within the window in percent."""
    process = rig.daemon(machine)
    time.sleep(1)  # until earlier requests are finished
    began, before = time.monotonic(), _nanoseconds(process)
    time.sleep(WINDOW)
    return (_nanoseconds(process) - before) / 1e9 / (time.monotonic() - began) * 100


def _nanoseconds(process: Path) -> int:
    """Return the CPU time of all threads from /proc/PID/schedstat, which has the finest resolution."""
    return sum(int(path.read_text().split()[0]) for path in process.glob("task/*/schedstat"))


def _memory(machine: Machine) -> list[Figure]:
    release = rig.release(machine, "many", "v1")
    machine.run(["systemctl", "restart", "deployd"])
    names = [f"many{number}" for number in range(APPS)]
    found = []
    for number, name in enumerate(names):
        rig.deploy(machine, name, 1, release, rig.PORT + number, **rig.LIGHT, routing="steered")
        if number == 0:
            found.append(rig.memory(machine)["Rss"])
    found.append(rig.memory(machine)["Rss"])
    idle = _used(machine)
    for name in names:
        rig.remove(machine, name)
    one, all_of_them = found
    return [
        Figure(f"the daemon's memory with {APPS} steered apps (RSS)", all_of_them, "MB", AIM_MEMORY),
        Figure("  with one", one, "MB"),
        Figure(f"  its CPU usage with {APPS}, without connections", idle, "%", AIM_IDLE),
    ]
