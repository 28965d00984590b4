"""Faults with which `make torture` found bugs of deployd, each as it was found."""

from __future__ import annotations

import pytest

from tests.on_bus import run
from tests.torture.campaign import torture_site
from tests.torture.carrier import Carrier
from tests.torture.case import Case, Outcome, run_case
from tests.torture.kinds import Kind
from tests.torture.line import Step

INSTALLING = Step("reply Reload", 1)
FOUND = {
    # The request was lost while the units were installed: the rollout continued, or in two directions.
    "aborted while its units are installed": (
        Kind.REPLY_DELAYED, INSTALLING, Carrier(nice=1, pause=True, resume=False),
    ),
    "paused while its units are installed": (Kind.REPLY_DELAYED, INSTALLING, Carrier(nice=0, pause=True)),
    "superseded while its units are installed": (Kind.REPLY_DELAYED, INSTALLING, Carrier(nice=1, supersede=True)),
    # During a rollback nothing woke the control loop when the disk was writable again.
    "read-only during a rollback": (Kind.READ_ONLY, Step("reply StopUnit demo@N.service", 1), Carrier(mode="crash")),
    # The rollback needed a unit for the masked instance, or its number, and failed: two generations were left.
    "masked number during a rollback": (Kind.MASK_USED, Step("sqlite BEGIN IMMEDIATE", 3), Carrier(nice=0)),
    # After a restart of the daemon connections went to instances in standby, which then drained until the timeout.
    "killed while it removes standby": (
        Kind.KILL_TWICE, Step("sqlite COMMIT", 5), Carrier(nice=1, routing="steered", standby=True),
    ),
    # Stopped and started for another disk, the daemon has lost its maps as well.
    "started again with instances in standby": (
        Kind.DISK_FULL, Step("reply StopUnit demo@N.service", 2), Carrier(nice=0, routing="steered", standby=True),
    ),
    # An instance that was drained but could not be frozen kept running without getting connections.
    "read-only while standby is recorded": (
        Kind.READ_ONLY, Step("disk write in state", 2),
        Carrier(nice=1, resume=False, routing="steered", standby=True),
    ),
}  # fmt: skip


async def one_after_another(names: list[str]) -> dict[str, Outcome]:
    outcomes = {}
    async with torture_site("torture-found") as site:
        for number, name in enumerate(names, 1):
            kind, step, carrier = FOUND[name]
            outcomes[name] = await run_case(site, Case(number, kind, step, carrier, number))
            if outcomes[name].stuck:
                break
    return outcomes


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """Run the cases whose tests were chosen, all on one host."""
    items = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    return run(one_after_another([str(item.callspec.params["name"]) for item in items]))


@pytest.mark.sampled
@pytest.mark.parametrize("name", FOUND)
def test_a_fixed_bug_does_not_return(outcomes: dict[str, Outcome], name: str) -> None:
    if name not in outcomes:
        pytest.fail("deployd got stuck in an earlier case")
    outcome = outcomes[name]
    assert not outcome.wrong, "\n".join([str(outcome.case), *outcome.wrong, outcome.journal])
    assert outcome.counts, f"{outcome.case}: {outcome.result}"
