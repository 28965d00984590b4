"""Compares the time of `deployd status` with `python3 -c pass` of the same interpreter, in interleaved pairs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from statistics import median

from tests.bench import rig
from tests.bench.figure import Figure, ratio
from tests.host.machine import Machine

AIM = 8.0
PAIRS = 31
SLOWEST = 8

# Timed on the host, because entering it would be measured as well.
TIMER = """
import json, subprocess, sys, time
commands, pairs = json.loads(sys.argv[1]), int(sys.argv[2])
found = [[] for _ in commands]
for _ in range(pairs):
    for command, times in zip(commands, found):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
print(json.dumps(found))
"""


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    rig.deploy(machine, "demo", 4, rig.release(machine, "demo", "v1"))
    command, bare = _times(machine, [["deployd", "status"], [machine.python, "-c", "pass"]])
    for line in slowest_imports(machine, "status"):
        print(line, file=sys.stderr)
    rig.remove(machine, "demo")
    return [
        Figure("deployd status against python3 -c pass", ratio(command, bare), "times", AIM),
        Figure("  of deployd status", median(command) * 1000, "ms"),
        Figure("  of python3 -c pass", median(bare) * 1000, "ms"),
    ]


def _times(machine: Machine, commands: Sequence[Sequence[str]]) -> list[list[float]]:
    argv = [str(machine.root.python), "-c", TIMER, json.dumps(commands), str(PAIRS)]
    found: list[list[float]] = json.loads(machine.run(argv, timeout=rig.LIMIT).stdout)
    return found


def slowest_imports(machine: Machine, *arguments: str) -> list[str]:
    """Return the modules of a command whose own import takes longest, with their share."""
    said = machine.run([machine.python, "-X", "importtime", "-m", "deployd_cli", *arguments], check=False).stderr
    rows = [
        line.removeprefix("import time:").split("|") for line in said.splitlines() if line.startswith("import time:")
    ]
    times = {name.strip(): int(own) for own, _, name in rows if own.strip().isdigit()}
    slowest = sorted(times, key=lambda name: -times[name])[:SLOWEST]
    whole = sum(times.values())
    head = f"imports of deployd {' '.join(arguments)}: {len(times)} modules, {whole / 1000:.0f} ms; the slowest:"
    return [head, *(f"  {times[name] / 1000:5.1f} ms {times[name] / whole:4.0%}  {name}" for name in slowest)]
