"""`make bench ONLY=routing`: measures who has to wait, prints a table, and draws the picture of README.

Steered, on a shared socket, with the kernel's hash and behind nginx and HAProxy, the same instances get the same
traffic, one method after the other. Results can be stored and merged. The exit status is 0 if all could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import programs
from tests.bench.routing import measurements, openloop, picture, sources, table, two_generations, variants
from tests.bench.routing.measurements import Choice
from tests.bench.routing.results import Results
from tests.bench.routing.traffic import LOADS, METHODS, SERVERS, SHARED, STEERED, TRAFFICS, cells
from tests.host.machine import Machine
from tests.host.root import CHECKOUT

CELLS, SATURATION, HUNG, ROLLOUT, WAKEUPS = PARTS = ("cells", "saturation", "hung", "rollout", "wakeups")
PICTURE = CHECKOUT / "docs/routing.svg"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.bench.routing", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="how often everything is measured (1)")
    parser.add_argument("--part", nargs="+", default=PARTS, choices=PARTS, help="what to measure besides cells")
    parser.add_argument("--traffic", nargs="+", default=list(TRAFFICS), choices=TRAFFICS)
    parser.add_argument("--load", nargs="+", type=int, default=list(LOADS), choices=LOADS)
    parser.add_argument("--server", nargs="+", default=list(SERVERS), choices=SERVERS)
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the duration of each cell (1)")
    parser.add_argument("--first", type=int, default=1, metavar="RUN", help="number of the first run: seeds differ (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file, after each run")
    parser.add_argument("--merge", nargs="+", type=Path, metavar="FILE", help="measure nothing, but show these figures")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="where to draw; without it docs/routing.svg, if all cells were measured",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    given = parse(argv)
    stored = (json.loads(path.read_text()) for path in given.merge or ())
    results = Results.merged(stored) if given.merge else measure(given)
    print(table.table(results), end="")
    store(results, given.json)
    drawn = given.picture or (PICTURE if results.complete else None)
    if drawn:
        drawn.write_text(picture.svg(results))
        measurements.say(f"picture: {drawn}")
    return 0


def measure(given: argparse.Namespace) -> Results:
    """Boot a host and measure there what was chosen, one server after the other."""
    programs.provide()
    sources.provide()
    openloop.build()
    results = Results({"kernel": platform.release(), "CPUs": os.cpu_count()})
    began = time.monotonic()
    with Machine.boot("bench") as machine:
        machine.clean()
        for name in given.server:
            _server(machine, given, name, results)
        if WAKEUPS in given.part:
            for run in _runs(given):
                two_generations.measure(machine, run, results)
                store(results, given.json)
    measurements.say(f"routing: {time.monotonic() - began:.0f} s")
    return results


def _server(machine: Machine, given: argparse.Namespace, name: str, results: Results) -> None:
    server = SERVERS[name]
    choice = Choice(cells(given.traffic, given.load, [name]), given.method, given.scale)
    saturated = SATURATION in given.part and name == "event" and {STEERED, SHARED} <= {*given.method}
    if CELLS in given.part or HUNG in given.part or saturated:
        with variants.running(machine, server, given.method):
            for run in _runs(given):
                if CELLS in given.part:
                    measurements.of_cells(machine, choice, run, results)
                if HUNG in given.part:
                    measurements.hung(machine, server, given.method, run, results)
                if saturated:
                    measurements.saturation(machine, run, results)
                store(results, given.json)
    if ROLLOUT in given.part:
        with measurements.rollouts(machine, server):
            for run in _runs(given):
                measurements.rollout(machine, server, run, results)
                store(results, given.json)


def _runs(given: argparse.Namespace) -> range:
    return range(given.first, given.first + given.runs)


def store(results: Results, file: Path | None) -> None:
    """Write what was found so far, because the rest takes a while."""
    if file is not None:
        file.write_text(json.dumps(results.to_json(), indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
