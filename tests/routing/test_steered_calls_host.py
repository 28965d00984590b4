"""What a replaced instance of a steered app costs systemd, counted: its socket stays open."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.host.eavesdropping import TO_SYSTEMD, heard
from tests.host.stage import Stage
from tests.on_bus import run

INSTANCES = 8


def test_a_replaced_instance_takes_few_calls(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", instances=INSTANCES, rollout={"max_surge": 0})
    release = stage.release("v2")

    async def replaced() -> Counter[str]:
        async with heard(stage.machine.bus_address, TO_SYSTEMD) as calls:
            ended = await asyncio.to_thread(stage.rollout, release)
            assert ended.result == "succeeded", ended
            return calls

    calls = run(replaced())
    each = {name: count / INSTANCES for name, count in calls.items()}
    assert each["StartUnit"] < 1.5
    assert each["StopUnit"] < 1.5
    assert each.get("ListUnitsByPatterns", 0) < 1.5
    assert each["Get"] < 12
    assert each.get("ResetFailedUnit", 0) < 0.5
