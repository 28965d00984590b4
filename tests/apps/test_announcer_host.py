"""Broadcasts of the status are limited, and clients that watch still see each result."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.host.eavesdropping import STATUSES, heard
from tests.host.neighbour import Neighbour
from tests.host.stage import Stage
from tests.on_bus import run

PACE = 0.5
TURNS = 3
"""Broadcasts without delay: at the start and the end of a rollout, and one afterwards."""


@pytest.mark.thorough
def test_a_crash_loop_and_a_rollout_are_broadcast_twice_a_second_at_most(stage: Stage) -> None:
    stage.deploy("v1", instances=10)
    broken = Neighbour(stage, "broken", 9000)
    broken.configure("crash-idle", environment={"CRASH_AFTER": "0.05"}, instances=10)
    assert stage.deployd("apply", "broken", "--no-start").returncode == 0

    async def count() -> tuple[int, float]:
        async with heard(stage.machine.bus_address, STATUSES) as counts:
            began = time.monotonic()
            await asyncio.to_thread(stage.machine.run, ["systemctl", "start", "--no-block", "broken.service"])
            ended = await asyncio.to_thread(stage.rollout, stage.release("v2", boot=0.3))
            assert ended.result == "succeeded"
            return counts.total(), time.monotonic() - began

    statuses, seconds = run(count())
    print(f"{statuses} statuses of two apps in {seconds:.1f} s")
    assert statuses <= 2 * (seconds / PACE + TURNS)


def test_a_client_that_watches_sees_the_end(stage: Stage) -> None:
    stage.deploy("v1")
    with Neighbour(stage, "demo", 0).meanwhile("status", "--watch", "--json") as watching:
        watching.next()
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        while (status := watching.next(10)) is not None and (status["rollout"] or status["generation"] != 2):
            pass
        assert status is not None
        assert [item["generation"] for item in status["instances"]] == [2] * 4
