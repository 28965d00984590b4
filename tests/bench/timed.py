"""Times a command on the host by a parent process that runs there, so that entering the host is not measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.rig import LIMIT
from tests.host.machine import Machine

PARENT = """
import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(json.loads(sys.argv[1]), stdin=subprocess.DEVNULL, capture_output=True, text=True)
ended = time.monotonic()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([began, ended, used.ru_utime + used.ru_stime, done.returncode, done.stdout, done.stderr]))
"""


@dataclass(frozen=True, slots=True)
class Timed:
    """Times on CLOCK_MONOTONIC, which the host shares with this machine; `processor` is CPU time in seconds."""

    began: float
    ended: float
    processor: float
    status: int
    output: str
    errors: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def busy(self) -> float:
        """The CPU usage, 1 for one CPU."""
        return self.processor / self.seconds


def timed(machine: Machine, argv: Sequence[str], *, check: bool = True) -> Timed:
    """Run a command on the host. With `check`, raises RuntimeError if it fails."""
    parent = [str(machine.root.python), "-S", "-c", PARENT, json.dumps(list(argv))]
    found = Timed(*json.loads(machine.run(parent, timeout=LIMIT).stdout))
    if check and found.status:
        raise RuntimeError(f"{' '.join(argv)} ended with status {found.status}: {found.errors.strip()}")
    return found
