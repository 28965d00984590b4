"""Measures how often the daemon wakes while two generations of a steered app serve."""

from __future__ import annotations

import json
from contextlib import aclosing

from deployd.api import Client as Deployd
from tests.bench import idle, rig
from tests.bench.routing import openloop
from tests.bench.routing.openloop import Client
from tests.bench.routing.results import Results
from tests.host.machine import Machine
from tests.host.steered import FIRST_ONLY
from tests.on_bus import run as on_bus
from tests.sample_apps.release import app_file

NAME = "two"
INSTANCES = 4
RATE = 50
WINDOW = 60.0


def measure(machine: Machine, run: int, results: Results, window: float = WINDOW) -> None:
    """Count the wake-ups within the window, under load and without it, while a rollout stays at its first instance."""
    machine.clean()
    old, new = (rig.release(machine, NAME, version) for version in ("old", "new"))
    with idle.known_watchdog(machine):
        rig.deploy(machine, NAME, INSTANCES, old, routing="steered")
        text = app_file(NAME, old, rig.PORT, INSTANCES, routing="steered", gate=FIRST_ONLY)
        machine.write(f"/etc/deployd/apps/{NAME}.toml", text)
        number = on_bus(_roll_out(machine, str(new)))
        machine.wait_for(lambda: _serves(machine, number), what="a new instance that serves")
        without = idle.wakeups(machine, window)
        with Client(machine, openloop.arguments(rig.PORT, RATE, rig.LIMIT, run, cheap=0)) as client:
            under_load = idle.wakeups(machine, window)
            answers = client.finish(stop=True)
        machine.run(["deployd", "abort", NAME], timeout=rig.LIMIT)
        rig.remove(machine, NAME)
    aim = idle.for_watchdog(window)
    what = f"wake-ups in {window:g} s, two generations"
    results.add(f"{what}, {RATE} requests/s", under_load, "", aim)
    results.add(f"{what}, without requests", without, "", aim)
    results.add("  of these, to look at listening sockets, at most", idle.for_looks(window))
    results.add("failed requests with two generations", answers.failed + answers.unanswered, "", 0)


async def _roll_out(machine: Machine, release: str) -> int:
    """Roll out until the first new instance is being started; return its number."""
    async with await Deployd.connect(machine.bus_address) as deployd, deployd.watch(NAME) as watch:
        generation = await deployd.rollout(NAME, release=release)
        async with aclosing(watch.until_finished(generation, deadline=rig.LIMIT)) as events:
            async for event in events:
                if event["event"] == "instance" and event["state"] == "starting":
                    return int(event["instance"])
    raise RuntimeError(f"the rollout of {NAME} ended before an instance was started")


def _serves(machine: Machine, number: int) -> bool:
    status = json.loads(machine.run(["deployd", "status", NAME, "--json"]).stdout)
    return any(item["instance"] == number and item["weight"] for item in status["instances"])
