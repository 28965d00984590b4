"""A fixed sample of the faults that `make torture` does by the hundred: each kind, spread over the steps of a rollout.

Plain rollouts on one host; on another those with hooks, probes and a changed listen.
"""

from __future__ import annotations

import pytest

from tests.on_bus import run
from tests.torture.campaign import Tally, again, campaign, dry_runs, torture_site
from tests.torture.case import Outcome
from tests.torture.kinds import Kind
from tests.torture.schedule import at_random, in_turn

IN_TURN = {"plain": 38, "rich": 16}
AT_RANDOM = 4
"""More on each host."""
SEED = 3


async def sample(name: str) -> Tally:
    tally = Tally()
    async with torture_site(f"torture-{name}") as site:
        plain, rich = await dry_runs(site)
        planned = in_turn({"plain": plain, "rich": rich}[name], SEED)
        await campaign(site, planned, IN_TURN[name], lambda _: None, tally)
        if not any(outcome.stuck for outcome in tally.outcomes):
            await site.start_load()
            await campaign(site, at_random(plain, rich, SEED), AT_RANDOM, lambda _: None, tally)
    return tally


def told(outcome: Outcome) -> str:
    return "\n".join([str(outcome.case), *outcome.wrong, again(outcome.case), outcome.journal])


@pytest.mark.parametrize("name", IN_TURN)
def test_faults_at_every_step(name: str) -> None:
    tally = run(sample(name))
    assert not tally.wrong, "\n\n".join(map(told, tally.wrong))
    assert len(tally.outcomes) == IN_TURN[name] + AT_RANDOM
    assert tally.requests > 0
    assert tally.failed == 0
    if IN_TURN[name] > len(Kind):  # a step or two may not be reached
        assert len({outcome.case.kind for outcome in tally.outcomes}) >= len(Kind) - 2
