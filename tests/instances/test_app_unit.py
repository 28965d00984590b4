"""Whether an app unit is stopped for good: a connection may be about to start it again."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.instances.app_unit import AppUnit
from deployd.systemd.manager import Systemd


@pytest.mark.parametrize(
    ("jobs", "state", "stopped"),
    [
        ([None, None], "inactive", True),
        ([None, None], "failed", True),
        (["start"], "inactive", False),
        ([None], "active", False),
        ([None], "activating", False),
        ([None, "start"], "inactive", False),
    ],
)
def test_it_is_stopped_if_it_is_down_and_has_no_job(jobs: list[Any], state: str, stopped: bool) -> None:
    systemd = create_autospec(Systemd, instance=True)
    systemd.job.side_effect = jobs
    systemd.properties.return_value = {"ActiveState": "inactive"}  # the mirror is behind until it is refreshed

    async def refresh(_unit: str) -> None:
        systemd.properties.return_value = {"ActiveState": state}

    systemd.refresh.side_effect = refresh
    nothing: Any = None
    unit = AppUnit("demo", systemd, changed=nothing, failed=nothing, opening=lambda: False)
    assert asyncio.run(unit.is_stopped()) is stopped
