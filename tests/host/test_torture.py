"""A fixed sample of the faults that `make torture` does by the hundred: each kind, spread over the steps of a rollout.

In chunks, each on a host of its own, so that a host which deployd is stuck on takes only its chunk with it.
"""

from __future__ import annotations

from itertools import islice

import pytest

from tests.torture.campaign import Tally, again, campaign, dry_runs, run, torture_site
from tests.torture.case import Outcome
from tests.torture.schedule import at_random, in_turn

CHUNKS = 4
IN_TURN, AT_RANDOM = 13, 3
"""Faults per chunk."""
SPARE = 4
"""Steps per chunk that this rollout may not come to, as it does not come to all in the same number each time."""
SEED = 3


async def sample(chunk: int) -> Tally:
    tally = Tally()
    async with torture_site(f"torture-{chunk}") as site:
        plain, rich = await dry_runs(site)
        walk = rich if chunk % 2 else plain
        planned = islice(in_turn(walk, SEED), chunk // 2 * (IN_TURN + SPARE), None)
        await campaign(site, planned, IN_TURN, lambda _: None, tally)
        if not any(outcome.stuck for outcome in tally.outcomes):
            await site.start_load()
            await campaign(site, at_random(plain, rich, SEED + chunk), AT_RANDOM, lambda _: None, tally)
    return tally


def told(outcome: Outcome) -> str:
    return "\n".join([str(outcome.case), *outcome.wrong, again(outcome.case), outcome.journal])


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_faults_at_every_step(chunk: int) -> None:
    tally = run(sample(chunk))
    assert not tally.wrong, "\n\n".join(map(told, tally.wrong))
    assert len(tally.outcomes) == IN_TURN + AT_RANDOM
    assert tally.requests > 0
    assert tally.failed == 0
