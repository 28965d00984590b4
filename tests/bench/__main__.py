"""`python3 -m tests.bench [NAME …]`: measures on a disposable host and prints each figure with its aim, met or missed.

Figures are medians of interleaved runs, and ratios within one run if possible, because machines differ and may be
shared. Nothing is asserted; the exit status is 0 if everything could be measured.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from tests.bench.figure import Figure, table
from tests.host.machine import Machine

MEASUREMENTS = (
    "startup",
    "idle",
    "cost",
    "scale",
    "load",
    "disk",
    "serving",
    "rollback",
    "two_generations",
    "waves",
    "command",
)
GROUPS = {"steering": ("serving", "rollback", "two_generations", "waves", "command")}


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python3 -m tests.bench", description=(__doc__ or "").split("\n\n")[1])
    arguments.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join((*MEASUREMENTS, *GROUPS))}"
    )
    arguments.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    given = arguments.parse_args()
    if unknown := sorted({*given.names} - {*MEASUREMENTS, *GROUPS}):
        arguments.error(f"no such measurement: {', '.join(unknown)}")
    names = dict.fromkeys(name for each in given.names or MEASUREMENTS for name in GROUPS.get(each, (each,)))
    modules = {name: importlib.import_module(f"tests.bench.{name}") for name in names}
    for module in modules.values():
        if hasattr(module, "prepare"):  # downloads come first, so that their failure does not come after minutes
            module.prepare()
    figures: dict[str, list[Figure]] = {}
    with Machine.boot("bench") as machine:
        for name, module in modules.items():
            began = time.monotonic()
            figures[name] = module.measure(machine)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(figure for group in figures.values() for figure in group), end="")
    if given.json:
        found = {name: [figure.to_json() for figure in group] for name, group in figures.items()}
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
