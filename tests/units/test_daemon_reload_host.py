"""A daemon-reload costs the daemon next to nothing, and it misses nothing."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.host.eavesdropping import TO_SYSTEMD, heard
from tests.host.stage import Stage
from tests.on_bus import run

INSTANCES = 20


async def reloaded(stage: Stage, times: int) -> Counter[str]:
    """Return the calls that consecutive reloads cause, without those of systemctl."""

    async with heard(stage.machine.bus_address, TO_SYSTEMD) as counts:
        for _ in range(times):
            await asyncio.to_thread(stage.machine.run, ["systemctl", "daemon-reload"])
        await asyncio.sleep(2)  # nothing indicates the last call
        del counts["Reload"]
        return counts


def test_a_reload_costs_at_most_two_calls(stage: Stage) -> None:
    stage.deploy("v1", instances=INSTANCES, rollout={"max_surge": INSTANCES})
    one = run(reloaded(stage, 1))
    assert one.total() <= 2, one  # 617 if every unit were read again
    many = run(reloaded(stage, 10))
    assert many.total() <= 20, many
    assert stage.status()["ready"] == INSTANCES


@pytest.mark.thorough
def test_the_end_of_a_job_under_way_is_heard(stage: Stage) -> None:
    """A start and a stop take more than 2 s each, and systemd is reloaded meanwhile."""
    stage.deploy("v1", instances=1, stop={"timeout": "2s"})
    assert stage.rollout(stage.release("v2", "stubborn", boot=2.0)).result == "succeeded"
    with stage.begin("rollout", "--release", stage.release("v3", boot=2.0)) as begun:
        for state in ("starting", "stopping"):
            begun.until("instance", state=state)
            stage.machine.run(["systemctl", "daemon-reload"])
        ended = begun.end()
    assert ended.result == "succeeded"
    assert [line for line in stage.journal.of_deployd() if "was lost" in line] == []


@pytest.mark.thorough
def test_a_change_by_a_reload_is_noticed(stage: Stage) -> None:
    """An instance that is masked while it starts never times out: only the reload indicates the failure."""
    stage.deploy("v1", gate={"timeout": "50s"})
    with stage.begin("rollout", "--release", stage.release("v2", "hang")) as begun:
        number = begun.until("instance", state="starting")["instance"]
        stage.machine.run(["systemctl", "mask", f"demo@{number}.service"])
        ended = begun.end(20)
    assert (ended.result, "was masked while it started" in ended.reason) == ("rolled-back", True), ended
