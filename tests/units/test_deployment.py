"""The order in which a deployment calls systemd."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec, patch

import pytest

from deployd.model.app import App
from deployd.plan.goal import Goal
from deployd.state.pins import Pins
from deployd.systemd.comparison import UnitState
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.units.deployment import Deployment
from deployd.units.directory import UnitDirectory
from tests.rollout.death import Died
from tests.units.disk import FIRST, SECOND, app

OLD, NEW = "/run/old.sock", "/run/new.sock"


def deployment_of(systemd: Systemd, directory: Path, settings: Mapping[int, App]) -> Deployment:
    """Return that of a daemon whose units and state are in a directory; `settings` by generation."""
    return Deployment(
        systemd,
        UnitDirectory(directory, others=()),
        DaemonReload(systemd.reload),
        Pins(directory / "state"),
        lambda _name, number: settings.get(number),
        directory / "state",
        "/bin/true",
    )


def starting_at_once(up: set[str]) -> Any:
    """Return a systemd whose units are up at once when they are started; those that are go into `up`."""
    systemd = create_autospec(Systemd, instance=True)

    async def start(unit: str) -> asyncio.Future[str]:
        up.add(unit)
        job: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        job.set_result("done")
        return job

    async def read(unit: str, *_: Any) -> dict[str, str]:
        return {"ActiveState": "active" if unit in up else "inactive"}

    systemd.start.side_effect, systemd.read.side_effect, systemd.job.return_value = start, read, None
    return systemd


@pytest.mark.parametrize("known", [False, True])
def test_a_new_socket_opens_before_a_daemon_reload_unless_systemd_knows_the_unit(tmp_path: Path, known: bool) -> None:
    """systemd would open a unit that it knows with its old settings."""

    async def check() -> list[str]:
        systemd = starting_at_once(up := set[str]())
        systemd.enable.return_value = True
        systemd.states.return_value = {SECOND: UnitState("loaded", "inactive", "dead", 0)} if known else {}
        settings = {1: app(OLD), 2: app(NEW)}
        deployment = deployment_of(systemd, tmp_path, settings)
        await deployment.install(settings[1], Goal.of(settings[1], 1))
        up.add("web.service")
        systemd.reset_mock()
        await deployment.install(settings[2], Goal.of(settings[2], 2))
        return [name for name, _, _ in systemd.mock_calls if name in ("enable", "reload", "start")]

    opened = ["enable", "reload", "start"] if known else ["enable", "start"]
    assert asyncio.run(check()) == [*opened, "reload"]


@pytest.mark.parametrize("call", ["enable", "states", "start", "reload"])
def test_a_socket_is_enabled_also_if_the_daemon_is_killed_meanwhile(tmp_path: Path, call: str) -> None:
    """Otherwise nothing would listen at the new address after a boot."""

    async def check() -> None:
        systemd = starting_at_once(up := set[str]())
        systemd.states.return_value, enabled = {}, set[str]()

        async def enable(units: list[str]) -> bool:
            enabled.update(units)
            return True

        systemd.enable.side_effect = enable
        settings = {1: app(OLD), 2: app(NEW)}
        await deployment_of(systemd, tmp_path, settings).install(settings[1], Goal.of(settings[1], 1))
        up.add("web.service")
        assert enabled == {"web.service", FIRST}
        with patch.object(systemd, call, side_effect=Died), pytest.raises(Died):
            await deployment_of(systemd, tmp_path, settings).install(settings[2], Goal.of(settings[2], 2))
        await deployment_of(systemd, tmp_path, settings).install(settings[2], Goal.of(settings[2], 2))
        assert enabled == {"web.service", FIRST, SECOND}
        assert SECOND in up

    asyncio.run(check())


def test_an_urgent_change_of_the_app_unit_alone_is_loaded_later(tmp_path: Path) -> None:
    """A rollback starts more instances than the app unit wants, and nothing that it starts depends on that."""

    async def check() -> None:
        systemd = create_autospec(Systemd, instance=True)
        systemd.job.return_value, systemd.enable.return_value = None, False
        outdated: list[str] = []

        async def read(unit: str, _interface: str, names: list[str]) -> dict[str, object]:
            known = {"ActiveState": "active", "NeedDaemonReload": unit in outdated}
            return {name: known[name] for name in names}

        async def start(_unit: str) -> asyncio.Future[str]:
            job: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            job.set_result("done")
            return job

        systemd.read.side_effect, systemd.start.side_effect = read, start
        settings = app(OLD)
        directory = UnitDirectory(tmp_path, others=())
        deployment = deployment_of(systemd, tmp_path, {1: settings})
        goal = Goal.of(settings, 1)
        await deployment.install(settings, goal)
        systemd.reset_mock()
        await deployment.load("web")
        systemd.reload.assert_not_called()
        more = goal.surging(settings, 2 * goal.instances)
        await deployment.install(settings, more, urgent=True)
        assert f"web@{more.ceiling}.service" in directory.installed("web")["web.service"]
        systemd.reload.assert_not_called()
        outdated.append("web.service")
        await deployment.load("web")
        systemd.reload.assert_called_once()
        # With any other change instances would be started from a unit that systemd does not know.
        changed = replace(settings, service=(("Nice", ("1",)),))
        await deployment.install(changed, more.surging(settings, 3 * goal.instances), urgent=True)
        assert systemd.reload.call_count == 2

    asyncio.run(check())
