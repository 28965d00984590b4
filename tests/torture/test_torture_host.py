"""A fixed sample of the faults of `make torture`: each kind, spread over the steps of a rollout.

Plain rollouts run on one host, those with hooks, probes and a changed listen on another, steered ones on a third.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import pytest

from tests.on_bus import run
from tests.torture.campaign import Tally, again, campaign, dry_runs, torture_site
from tests.torture.case import Case, Outcome
from tests.torture.kinds import OF_STEERED, Kind
from tests.torture.schedule import Walks, at_random, in_turn

IN_TURN = {"plain": 21, "rich": 8, "steered": 14}
AT_RANDOM = 1
"""Additional faults at random steps on each host."""
SEED = 3


def planned(name: str, walks: Walks) -> Iterator[Case]:
    walk = walks.rich if name == "rich" else walks.plain
    return chain(islice(in_turn(walk, SEED), IN_TURN[name]), at_random(walks, SEED))


async def sample(name: str) -> Tally:
    tally, routing = Tally(), "steered" if name == "steered" else "shared"
    async with torture_site(f"torture-{name}", routing) as site:
        walks = await dry_runs(site, routing)
        await campaign(site, planned(name, walks), IN_TURN[name] + AT_RANDOM, lambda _: None, tally)
    return tally


def tried(tally: Tally) -> list[Case]:
    """Return the faults that occurred."""
    return [outcome.case for outcome in tally.outcomes]


def details(outcome: Outcome) -> str:
    return "\n".join([str(outcome.case), *outcome.wrong, again(outcome.case), outcome.journal])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", IN_TURN)
def test_faults_at_every_step(name: str) -> None:
    tally = run(sample(name))
    assert not tally.wrong, "\n\n".join(map(details, tally.wrong))
    assert len(tally.outcomes) == IN_TURN[name] + AT_RANDOM
    assert tally.requests > 0
    assert tally.failed == 0
    there_are = len(Kind) - (0 if name == "steered" else len(OF_STEERED))
    # Each kind is tried once before any is tried twice, where it fits. More steps are not reached on a busy machine.
    reached, missed = ({case.kind for case in cases} for cases in (tried(tally), tally.not_reached))
    assert len(reached | missed) >= min(IN_TURN[name], there_are) - 3
    assert len(reached) >= 2 / 3 * min(IN_TURN[name], there_are)
