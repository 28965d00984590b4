"""A series of faults on one host, and the tally of their outcomes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace

from tests.host.machine import Machine
from tests.host.stage import RELEASES
from tests.torture.carrier import Carrier
from tests.torture.case import Case, Outcome, run_case
from tests.torture.kinds import KERNEL, Kind
from tests.torture.line import Step
from tests.torture.schedule import Walk, Walks
from tests.torture.site import Site

SETTINGS = {"instances": 4, "gate": {"timeout": "10s"}}
MOST_ALIKE = 8
"""Steps of the same system call of steering, which queries the kernel repeatedly while it waits."""


@dataclass(slots=True)
class Tally:
    """The outcomes of all faults so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    not_reached: list[Case] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    """Failed requests that no killed process handled."""
    lost: int = 0
    """Requests that failed because the process that handled them was killed."""

    @property
    def wrong(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.wrong]

    def table(self) -> str:
        """Return a table of faults by kind and result."""
        counts = Counter((outcome.case.kind, outcome.result) for outcome in self.outcomes)
        results = sorted({result for _, result in counts})
        rows = [["fault", "count", *results, "wrong"]]
        for kind in (*Kind, None):
            chosen = [item for item in self.outcomes if kind in (None, item.case.kind)]
            cells = [sum(item.result == result for item in chosen) for result in results]
            bad = sum(bool(item.wrong) for item in chosen)
            rows.append([str(kind or "all"), str(len(chosen)), *(str(cell or "·") for cell in cells), str(bad or "·")])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            row[0].ljust(widths[0])
            + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in rows
        )


@asynccontextmanager
async def torture_site(name: str = "torture", routing: str = "shared") -> AsyncIterator[Site]:
    """Run `demo` on a host of its own until the end of the block."""
    with Machine.boot(name) as machine:
        site = await Site.open(machine, routing, **SETTINGS)
        try:
            yield site
        finally:
            await site.close()


async def dry_runs(site: Site, routing: str = "shared") -> Walks:
    """Return the steps of rollouts without a fault: a plain one, rich ones that add and remove an address, and for a
    steered app a rollback that thaws instances in standby."""
    steered = routing == "steered"
    plain, rich = Walk((), routing=routing), Walk((), rich=True, routing=routing)
    coming, going = [await _dry_run(site, rich.carrier(number)) for number in (1, 2)]
    first = await _dry_run(site, plain.carrier(1))
    if steered:
        first = await _dry_run(site, plain.carrier(2))  # the first one had no standby to remove
    back = await _dry_run(site, Walk((), routing=routing, back=True).carrier(1)) if steered else ()
    return Walks(
        replace(plain, steps=first),
        replace(rich, steps=list(dict.fromkeys([*coming, *going]))),
        Walk(back, routing=routing, back=True) if back else None,
    )


async def _dry_run(site: Site, carrier: Carrier) -> list[Step]:
    await site.put_on(carrier.routing, carrier.keepalive)
    carrier.prepare(site, f"dry-{len(list(site.host_path(RELEASES).iterdir()))}")  # a rollback needs an earlier release
    await site.line.arm(None, listing=True)
    async with await site.client() as client:
        await carrier.begin(client)
    await site.until_idle()
    steps = [step for step in site.line.steps if not step.label.startswith(KERNEL) or step.nth <= MOST_ALIKE]
    await site.line.arm(None)
    return steps


async def campaign(
    site: Site, planned: Iterator[Case], faults: int, report: Callable[[Outcome], None], tally: Tally
) -> None:
    """Carry out `faults` of the planned cases, not counting those whose step was not reached.

    Ends early if deployd gets stuck, because later outcomes would be meaningless.
    """
    until, counted = len(tally.outcomes) + faults, 0
    await site.company.start()
    requests, failed = site.requests, site.failed
    while len(tally.outcomes) < until and (case := next(planned, None)) is not None:
        outcome = await run_case(site, case)
        counted += outcome.failed
        tally.lost += min(outcome.failed, outcome.held)
        tally.failed += max(0, outcome.failed - outcome.held)
        if outcome.counts or outcome.wrong:
            tally.outcomes.append(outcome)
            report(outcome)
        else:
            tally.not_reached.append(case)
        if outcome.stuck:
            break
    site.company.check()
    await site.company.stop()
    await site.stop_load()
    tally.requests += site.requests - requests
    tally.failed += site.failed - failed - counted  # during a fault that got stuck, or after it


def again(case: Case) -> str:
    """Return the command line that repeats this fault alone."""
    carrier = json.dumps(asdict(case.carrier))
    return (
        f"{sys.executable} -m tests.torture --seed {case.seed} --kind {case.kind} --step '{case.step}'"
        f" --carrier '{carrier}'"
    )
