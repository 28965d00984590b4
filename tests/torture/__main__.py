"""`make torture`: faults at every step of a rollout, first in turn, then at random.

    python -m tests.torture [--seed N] [--faults 500] [--turns 400] [--routing shared|steered] [--verbose]
    python -m tests.torture --seed N --kind KIND --step STEP [--carrier JSON]     one fault again

Prints the seed, what went wrong with the command that repeats it, and at the end the faults by kind. Exits 1 when
anything did not hold.
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
"""Then it ends: there is enough to do."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--turns", type=int, default=400, help="faults in turn, before those at random")
    parser.add_argument("--skip", type=int, default=0, help="begin later in the plan")
    parser.add_argument("--routing", choices=tuple(IN_A_ROW), help="only this; otherwise both")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--steps", action="store_true", help="list the steps of a rollout, and end")
    parser.add_argument("--kind", type=Kind)
    parser.add_argument("--step", type=Step.parse)
    parser.add_argument("--carrier", type=lambda text: Carrier(**json.loads(text)), default=Carrier())
    return parser.parse_args()


def tell(outcome: Outcome, options: argparse.Namespace) -> None:
    """One line for a fault; all that is known when something did not hold."""
    if options.verbose or options.step or outcome.wrong:
        line = f"{outcome.case.index}: {outcome.case}: {outcome.result}, {outcome.seconds:.1f} s"
        print(f"{line}: {outcome.reason}" if outcome.reason else line, flush=True)
    for wrong in outcome.wrong:
        print(f"    WRONG: {wrong}", flush=True)
    if outcome.wrong:
        print(f"    again: {again(outcome.case)}")
        print("\n".join(f"    | {line}" for line in outcome.journal.splitlines()[-JOURNAL_LINES:]), flush=True)


async def torture(options: argparse.Namespace) -> Tally:
    """On one host, or on another when deployd got stuck there."""
    tally = Tally()
    planned: Iterator[Case] | None = None
    while True:
        async with torture_site(routing=first(options)) as site:
            if planned is None:
                planned = await plan(options, site)
            await campaign(site, planned, options.faults - len(tally.outcomes), lambda item: tell(item, options), tally)
        if options.step or len(tally.outcomes) >= options.faults or len(tally.wrong) >= MOST_WRONG:
            return tally


def first(options: argparse.Namespace) -> str:
    """The routing to begin with."""
    if options.step:
        return str(options.carrier.routing)
    return str(options.routing or "shared")


async def plan(options: argparse.Namespace, site: Site) -> Iterator[Case]:
    """What the arguments ask for."""
    if options.step:
        return iter([Case(1, options.kind, options.step, options.carrier, options.seed)])
    routings: list[Walks] = []
    for routing in [options.routing] if options.routing else IN_A_ROW:
        walks = await dry_runs(site, routing)
        routings.append(walks)
        lengths = f"{len(walks.plain.steps)} steps; {len(walks.rich.steps)} with hooks, probes and a changed listen"
        back = f"; {len(walks.back.steps)} of a way back from standby" if walks.back else ""
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
    print(f"{len(tally.outcomes)} faults in {seconds:.0f} s; steps not reached: {tally.not_reached}")
    print(f"{tally.requests} requests; lost with killed processes that held them: {tally.lost}")
    print(f"failed requests {tally.failed}")
    print(f"seed {options.seed}")
    return 1 if tally.wrong or tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
