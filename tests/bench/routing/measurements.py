"""What is measured on the host, run by run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import pstdev

from tests.bench import rig, wrk
from tests.bench.routing import openloop, variants
from tests.bench.routing.openloop import Client
from tests.bench.routing.results import Place, Results
from tests.bench.routing.traffic import DIRECT, SHARED, STEERED, Cell, Server
from tests.host.machine import Machine
from tests.load.record import Kind

LAG = 2.0
"""Milliseconds of the client's own delay, p99, above which a measurement says more of the machine."""

CLIENTS = 64
FULL_SECONDS = 4.0
AIM_RATE = 0.97

HUNG = 3
HUNG_RATE, HUNG_MS = 200, 5
HUNG_BEFORE, HUNG_AFTER, HUNG_TAIL = 1.0, 3.0, 1.0
AIM_STUCK = 1.0

ROLLOUT_RATES = (300, 600)
ROLLOUT_MS = 5
ROLLOUT_BEFORE = 5.0
AIM_ROLLOUT = 1.1


@dataclass(frozen=True, slots=True)
class Choice:
    """What to measure."""

    cells: Sequence[Cell]
    methods: Sequence[str]
    scale: float = 1.0
    """Of the duration of each cell."""


def of_cells(machine: Machine, choice: Choice, run: int, results: Results) -> None:
    """Measure each cell with each method, which run. The methods take turns in being first."""
    for number, cell in enumerate(choice.cells):
        first = (number + run) % len(choice.methods)
        for method in (*choice.methods[first:], *choice.methods[:first]):
            _cell(machine, choice, cell, method, run, results)
        waits = results.cells[Place(cell.traffic.name, cell.load, cell.server.name)].waits
        shown = ", ".join(f"{method} {waits[method][-1]:.1f}" for method in choice.methods)
        say(f"run {run}: {cell.words}: {shown}")


def _cell(machine: Machine, choice: Choice, cell: Cell, method: str, run: int, results: Results) -> None:
    options = openloop.of_cell(cell, variants.PORTS[method], run, choice.scale)
    with Client(machine, options) as client:
        if cell.traffic.kept:
            client.expect("opened")
            if method in DIRECT:
                spread = pstdev(variants.connections(machine, method, cell.server.instances))
                results.add(f"SD of {cell.traffic.kept} kept connections, {method}, {cell.server.name}", spread)
            client.begin()
        answers = client.finish()
    place = Place(cell.traffic.name, cell.load, cell.server.name)
    results.wait(place, method, answers.wait(99), answers.failed + answers.unanswered)
    results.add("the client's own delay, p99", answers.lag(99), "ms", LAG)


def saturation(machine: Machine, run: int, results: Results) -> None:
    """Compare the rates of steered and shared at full load; they take turns in being first."""
    for kind, words in ((Kind.FRESH, "short connections"), (Kind.KEEPALIVE, "keep-alive")):
        each = {
            method: wrk.run(machine, variants.PORTS[method], CLIENTS, FULL_SECONDS, kind, "/0").each
            for method in ((STEERED, SHARED) if run % 2 else (SHARED, STEERED))
        }
        ratio = each[SHARED] / each[STEERED]
        results.add(f"rate, {words}, steered against shared", ratio, "times", at_least=AIM_RATE)
        say(f"run {run}: rate, {words}: {1 / each[STEERED]:.0f}/s against {1 / each[SHARED]:.0f}/s")


def hung(machine: Machine, server: Server, methods: Sequence[str], run: int, results: Results) -> None:
    """Stop one instance as a hang would, with all its processes, and count the requests that are not answered."""
    for method in methods:
        if method not in DIRECT:
            continue
        unit = f"{variants.UNITS[method]}@{HUNG}.service"
        seconds = HUNG_BEFORE + HUNG_AFTER
        port, cheap = variants.PORTS[method], HUNG_MS * server.stretch
        options = openloop.arguments(port, HUNG_RATE, seconds, run, cheap=cheap, tail=HUNG_TAIL)
        with Client(machine, options) as client:
            client.expect("started")
            time.sleep(HUNG_BEFORE)
            machine.run(["systemctl", "kill", "--kill-whom=all", "--signal=STOP", unit])
            try:
                answers = client.finish()
            finally:
                machine.run(["systemctl", "kill", "--kill-whom=all", "--signal=CONT", unit])
        aim = AIM_STUCK if method == STEERED else None
        stuck = answers.unanswered
        results.add(f"stuck at a hung instance, {method}, {server.name}", stuck, "", aim)
        say(f"run {run}: stuck at a hung instance, {method}, {server.name}: {stuck} of {len(answers.requests)}")


@contextmanager
def rollouts(machine: Machine, server: Server) -> Iterator[None]:
    """Deploy the server steered and shared, with a gate that does not believe READY=1 alone: gunicorn says it early."""
    directory = variants.release(machine, server)
    gate = {"probe": {"http": "/0"}}
    for method in (STEERED, SHARED):
        variants.deploy(machine, method, server, directory, variants.PORTS[method], routing=method, gate=gate)
    yield
    for method in (STEERED, SHARED):
        rig.remove(machine, method)


def rollout(machine: Machine, server: Server, run: int, results: Results) -> None:
    """Compare the p99 during a rollout with the one before it."""
    for rate in ROLLOUT_RATES:
        for method in (STEERED, SHARED):
            port, cheap = variants.PORTS[method], ROLLOUT_MS * server.stretch
            with Client(machine, openloop.arguments(port, rate, rig.LIMIT, run, cheap=cheap)) as client:
                client.expect("started")
                time.sleep(ROLLOUT_BEFORE)  # the steady state to be measured
                began = time.monotonic()
                rig.restart(machine, method)
                ended = time.monotonic()
                answers = client.finish(stop=True)
            before = answers.within(began - ROLLOUT_BEFORE, began).latency(99)
            during = answers.within(began, ended).latency(99)
            what = f"p99 in a rollout, {rate}/s, {method}, {server.name}"
            results.add(what, during / before, "times", AIM_ROLLOUT if method == STEERED else None)
            lost = f"failed requests in rollouts, {method}, {server.name}"
            results.add(lost, answers.failed + answers.unanswered, "", 0)
            say(f"run {run}: {what}: {before:.1f} ms before, {during:.1f} in {ended - began:.1f} s")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
