"""How long `deployd rollback` takes until its request is on the bus, and of what that is made.

The rollback is refused, as there is nothing to go back to: so it can be asked again and again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median

from tests.bench import rig
from tests.bench.figure import Figure, ratio
from tests.bench.startup import slowest_imports
from tests.bench.timed import timed
from tests.demo.witness import Witness
from tests.host.machine import Machine

ROUNDS = 15
NAME = "asked"
CALL = ["org.deployd1", f"/org/deployd1/app/{NAME}", "org.deployd1.App", "Rollback", "ta{sv}", "0", "0"]


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    rig.deploy(machine, NAME, 4, rig.release(machine, NAME, "v1"), routing="steered")
    ours, theirs, bare = [], [], []
    with Witness(machine, "Rollback") as witness:
        for _ in range(ROUNDS):
            ours.append(_until_called(machine, witness, ["deployd", "rollback", NAME]))
            theirs.append(_until_called(machine, witness, ["busctl", "--system", "call", *CALL]))
            bare.append(timed(machine, [machine.python, "-c", "pass"]).seconds)
    for line in slowest_imports(machine, "rollback", NAME):
        print(line, file=sys.stderr)
    rig.remove(machine, NAME)
    return [
        Figure("deployd rollback until its request is on the bus, against python3 -c pass", ratio(ours, bare), "times"),
        Figure("  of deployd rollback", median(ours) * 1000, "ms"),
        Figure("  of python3 -c pass, to its end", median(bare) * 1000, "ms"),
        Figure("  of busctl call", median(theirs) * 1000, "ms"),
    ]


def _until_called(machine: Machine, witness: Witness, argv: Sequence[str]) -> float:
    run = timed(machine, argv, check=False)
    called = witness.called()
    if called is None or not run.status:
        raise RuntimeError(f"{' '.join(argv)}: {'no request was seen' if called is None else 'it was not refused'}")
    return called - run.began
