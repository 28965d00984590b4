"""Faults that `make torture` found deployd wrong at, each as it was found."""

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
    # The answer to the request was forgotten when the units were installed: it rolled on, or in two directions.
    "aborted while its units are installed": (
        Kind.REPLY_DELAYED, INSTALLING, Carrier(nice=1, pause=True, resume=False),
    ),
    "paused while its units are installed": (Kind.REPLY_DELAYED, INSTALLING, Carrier(nice=0, pause=True)),
    "superseded while its units are installed": (Kind.REPLY_DELAYED, INSTALLING, Carrier(nice=1, supersede=True)),
    # On its way back nothing woke it when the disk was writable again.
    "read-only on the way back": (Kind.READ_ONLY, Step("reply StopUnit demo@N.service", 1), Carrier(mode="crash")),
    # The way back wanted a unit for the masked instance, or its number, and failed: two generations were left.
    "masked number on the way back": (Kind.MASK_USED, Step("sqlite BEGIN IMMEDIATE", 3), Carrier(nice=0)),
    # Connections strayed to what stands by when the daemon came back; to drain it took as long as it could.
    "killed while it clears standby away": (
        Kind.KILL_TWICE, Step("sqlite COMMIT", 5), Carrier(nice=1, routing="steered", standby=True),
    ),
    # Stopped and started for another disk, it has lost its maps as well.
    "started anew with somebody in standby": (
        Kind.DISK_FULL, Step("reply StopUnit demo@N.service", 2), Carrier(nice=0, routing="steered", standby=True),
    ),
    # Drained and then not to be frozen, it served on and got no connection any more.
    "read-only while one is set aside": (
        Kind.READ_ONLY, Step("disk write in state", 2),
        Carrier(nice=1, resume=False, routing="steered", standby=True),
    ),
}  # fmt: skip


async def all_of_them() -> list[Outcome]:
    outcomes = []
    async with torture_site("torture-found") as site:
        for number, (kind, step, carrier) in enumerate(FOUND.values(), 1):
            outcomes.append(await run_case(site, Case(number, kind, step, carrier, number)))
            if outcomes[-1].stuck:
                break
    return outcomes


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """All on one host, in a row."""
    return dict(zip(FOUND, run(all_of_them()), strict=False))


@pytest.mark.parametrize("name", FOUND)
def test_it_holds_now(outcomes: dict[str, Outcome], name: str) -> None:
    if name not in outcomes:
        pytest.fail("deployd got stuck at one before")
    outcome = outcomes[name]
    assert not outcome.wrong, "\n".join([str(outcome.case), *outcome.wrong, outcome.journal])
    assert outcome.counts, f"{outcome.case}: {outcome.result}"
