"""`make torture`: injects faults at every step of a rollout, first systematically, then at random.

    python -m tests.torture [--seed N] [--faults 500] [--turns 400] [--routing shared|steered] [--verbose]
    python -m tests.torture --seed N --kind KIND --step STEP [--carrier JSON]     repeat one fault

Prints the seed, each violation with the command that repeats it, and in the end the faults by kind. Exits with status 1
if there was a violation.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator

from tests.on_bus import run
from tests.torture.campaign import Tally, again, campaign, dry_runs, torture_site
from tests.torture.carrier import Carrier
from tests.torture.case import Case, Outcome
from tests.torture.kinds import Kind
from tests.torture.line import Step
from tests.torture.schedule import IN_A_ROW, Walks, mixed
from tests.torture.site import Site

JOURNAL_LINES = 60
MOST_WRONG = 30
"""Violations after which the run ends."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--turns", type=int, default=400, help="systematic faults before those at random")
    parser.add_argument("--skip", type=int, default=0, help="number of planned faults to skip")
    parser.add_argument("--routing", choices=tuple(IN_A_ROW), help="one routing only (default: both)")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--steps", action="store_true", help="list the steps of a rollout and exit")
    parser.add_argument("--kind", type=Kind)
    parser.add_argument("--step", type=Step.parse)
    parser.add_argument("--carrier", type=lambda text: Carrier(**json.loads(text)), default=Carrier())
    return parser.parse_args()


def report(outcome: Outcome, options: argparse.Namespace) -> None:
    """Print one line for a fault, and all details if there was a violation."""
    if options.verbose or options.step or outcome.wrong:
        line = f"{outcome.case.index}: {outcome.case}: {outcome.result}, {outcome.seconds:.1f} s"
        print(f"{line}: {outcome.reason}" if outcome.reason else line, flush=True)
    for wrong in outcome.wrong:
        print(f"    WRONG: {wrong}", flush=True)
    if outcome.wrong:
        print(f"    again: {again(outcome.case)}")
        print("\n".join(f"    | {line}" for line in outcome.journal.splitlines()[-JOURNAL_LINES:]), flush=True)


async def torture(options: argparse.Namespace) -> Tally:
    """Run the faults on one host, and continue on another one if deployd gets stuck."""
    tally = Tally()
    planned: Iterator[Case] | None = None
    while True:
        async with torture_site(routing=first(options)) as site:
            if planned is None:
                planned = await plan(options, site)
            await campaign(
                site, planned, options.faults - len(tally.outcomes), lambda item: report(item, options), tally
            )
        if options.step or len(tally.outcomes) >= options.faults or len(tally.wrong) >= MOST_WRONG:
            return tally


def first(options: argparse.Namespace) -> str:
    """Return the routing to begin with."""
    if options.step:
        return str(options.carrier.routing)
    return str(options.routing or "shared")


async def plan(options: argparse.Namespace, site: Site) -> Iterator[Case]:
    """Return the cases that the arguments select."""
    if options.step:
        return iter([Case(1, options.kind, options.step, options.carrier, options.seed)])
    routings: list[Walks] = []
    for routing in [options.routing] if options.routing else IN_A_ROW:
        walks = await dry_runs(site, routing)
        routings.append(walks)
        lengths = f"{len(walks.plain.steps)} steps; {len(walks.rich.steps)} with hooks, probes and a changed listen"
        back = f"; {len(walks.back.steps)} of a rollback from standby" if walks.back else ""
        print(f"a rollout of 4 instances, {routing}: {lengths}{back}", flush=True)
        if options.steps:
            print("\n".join(str(step) for walk in walks.all for step in walk.steps))
    if options.steps:
        sys.exit(0)
    return (case for case in mixed(routings, options.seed, options.turns) if case.index > options.skip)


def main() -> int:
    options = arguments()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    tally = run(torture(options))
    print(tally.table())
    seconds = time.monotonic() - began
    print(f"{len(tally.outcomes)} faults in {seconds:.0f} s; steps not reached: {len(tally.not_reached)}")
    print(f"{tally.requests} requests; lost with the killed processes that handled them: {tally.lost}")
    print(f"failed requests {tally.failed}")
    print(f"seed {options.seed}")
    return 1 if tally.wrong or tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
