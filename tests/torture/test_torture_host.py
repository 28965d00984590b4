"""A fixed sample of the faults of `make torture`: each kind, spread over the steps of a rollout.

Rollouts with hooks, probes and a changed listen run on one host, plain ones on another, steered ones on a third.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from tests.on_bus import run
from tests.torture.campaign import Tally, again, campaign, dry_runs, torture_site
from tests.torture.case import Case, Outcome
from tests.torture.kinds import OF_STEERED, Kind
from tests.torture.schedule import Walks, at_random, in_turn

IN_TURN = {"rich": 8, "plain": 21, "steered": 14}
AT_RANDOM = 1
"""Additional faults at random steps on each host."""
SEED = 3


def planned(name: str, walks: Walks, tally: Tally) -> Iterator[Case]:
    """Yield the sample. A kind whose step was not reached is tried again at other steps."""
    every = in_turn(walks.rich if name == "rich" else walks.plain, SEED)
    yield from islice(every, IN_TURN[name])
    for case in every:
        occurred = {outcome.case.kind for outcome in tally.outcomes}
        if case.kind in {missed.kind for missed in tally.not_reached} - occurred:
            yield case
    yield from at_random(walks, SEED)


async def sample(name: str) -> Tally:
    tally, routing = Tally(), "steered" if name == "steered" else "shared"
    async with torture_site(f"torture-{name}", routing) as site:
        walks = await dry_runs(site, routing)
        await campaign(site, planned(name, walks, tally), IN_TURN[name] + AT_RANDOM, lambda _: None, tally)
    return tally


def details(outcome: Outcome) -> str:
    return "\n".join([str(outcome.case), *outcome.wrong, again(outcome.case), outcome.journal])


@pytest.mark.sampled
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", IN_TURN)
def test_faults_at_every_step(name: str) -> None:
    tally = run(sample(name))
    assert not tally.wrong, "\n\n".join(map(details, tally.wrong))
    assert len(tally.outcomes) == IN_TURN[name] + AT_RANDOM
    assert tally.requests > 0
    assert tally.failed == 0
    there_are = len(Kind) - (0 if name == "steered" else len(OF_STEERED))
    # Each kind occurs once before any occurs twice; a few steps may not be reached.
    assert len({outcome.case.kind for outcome in tally.outcomes}) >= min(IN_TURN[name], there_are) - 3
