"""The order in which a deployment calls systemd."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.plan.goal import Goal
from deployd.state.pins import Pins
from deployd.systemd.comparison import UnitState
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.units.deployment import Deployment
from deployd.units.directory import UnitDirectory
from tests.units.disk import SECOND, app

OLD, NEW = "/run/old.sock", "/run/new.sock"


@pytest.mark.parametrize("known", [False, True])
def test_a_new_socket_opens_before_a_daemon_reload_unless_systemd_knows_the_unit(tmp_path: Path, known: bool) -> None:
    """systemd would open a unit that it knows with its old settings."""

    async def check() -> list[str]:
        systemd = create_autospec(Systemd, instance=True)
        systemd.job.return_value, systemd.enable.return_value = None, True
        systemd.states.return_value = {SECOND: UnitState("loaded", "inactive", "dead", 0)} if known else {}
        up: set[str] = set()

        async def start(unit: str) -> asyncio.Future[str]:
            up.add(unit)
            job: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            job.set_result("done")
            return job

        async def read(unit: str, *_: Any) -> dict[str, str]:
            return {"ActiveState": "active" if unit in up else "inactive"}

        systemd.start.side_effect, systemd.read.side_effect = start, read
        settings = {1: app(OLD), 2: app(NEW)}
        deployment = Deployment(
            systemd,
            UnitDirectory(tmp_path, others=()),
            DaemonReload(systemd.reload),
            Pins(tmp_path / "state"),
            lambda _name, number: settings.get(number),
            tmp_path / "state",
            "/bin/true",
        )
        await deployment.install(settings[1], Goal.of(settings[1], 1))
        up.add("web.service")
        systemd.reset_mock()
        await deployment.install(settings[2], Goal.of(settings[2], 2))
        return [name for name, _, _ in systemd.mock_calls if name in ("enable", "reload", "start")]

    opened = ["enable", "reload", "start"] if known else ["enable", "start"]
    assert asyncio.run(check()) == [*opened, "reload"]
