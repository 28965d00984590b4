"""Controllers are started, retried and stopped independently of each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from unittest.mock import MagicMock, create_autospec

import pytest

from deployd.apps import supervisor
from deployd.apps.announcer import Announcer
from deployd.apps.app_files import AppFiles
from deployd.apps.registry import Registry
from deployd.apps.supervisor import Supervisor
from deployd.errors import StateError, SystemdError
from deployd.instances.actuator import Actuator
from deployd.rollout.controller import Controller


class Site:
    """A supervisor whose controllers only note what they are asked to do."""

    def __init__(self) -> None:
        self.made: dict[str, MagicMock] = {}
        self.fails: dict[str, int] = {}
        files = create_autospec(AppFiles, instance=True)
        files.names = frozenset()
        self.registry = Registry(files)
        self.announcer = create_autospec(Announcer, instance=True)
        self.supervisor = Supervisor(self.registry, self.announcer, self.make)

    def make(self, name: str, application: str) -> Controller:
        if self.fails.get(name):
            self.fails[name] -= 1
            raise StateError(f"{name} cannot be read")
        controller: MagicMock = create_autospec(Controller, instance=True)
        controller.name, controller.application = name, application or name
        controller.actuator = create_autospec(Actuator, instance=True)
        self.made[name] = controller
        return controller


def run(test: Callable[[Site], Coroutine[None, None, None]]) -> None:
    asyncio.run(test(Site()))


def test_every_app_gets_one_controller_that_has_observed_its_instances() -> None:
    async def test(site: Site) -> None:
        await site.supervisor.start(["a", "b"])
        assert site.registry.names() == ["a", "b"]
        for controller in site.made.values():
            controller.start.assert_called_once_with()
            controller.observed.assert_awaited_once_with()
        assert site.supervisor.controller("a") is site.made["a"]
        for unit in ("a@1.service", "c@1.service", "other.timer"):
            site.supervisor.on_unit_change(unit)
        site.made["a"].on_unit_change.assert_called_once_with("a@1.service")
        site.made["b"].on_unit_change.assert_not_called()
        site.supervisor.on_unit_change("")
        site.made["b"].on_unit_change.assert_called_once_with("")

    run(test)


def test_an_app_that_is_slow_or_fails_does_not_delay_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "PATIENCE", 0.05)

    async def test(site: Site) -> None:
        for name in ("hangs", "fails"):
            site.supervisor.controller(name)
        site.made["hangs"].observed.side_effect = asyncio.Event().wait
        site.made["fails"].observed.side_effect = SystemdError("no reply")
        async with asyncio.timeout(20):
            await site.supervisor.start(["good"])
        site.made["good"].observed.assert_awaited_once_with()

    with caplog.at_level(logging.WARNING):
        run(test)
    assert "no reply" in caplog.text


def test_a_controller_that_cannot_be_started_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RETRY", 0.01)

    async def test(site: Site) -> None:
        site.fails["bad"] = 2
        site.supervisor.take_up(["bad", "good"])
        assert set(site.made) == {"good"}
        async with asyncio.timeout(20):
            while "bad" not in site.made:
                await asyncio.sleep(0.01)
        assert site.registry.names() == ["bad", "good"]

    run(test)


def test_a_running_controller_continues_with_the_history() -> None:
    async def test(site: Site) -> None:
        controller = site.supervisor.controller("a")
        site.supervisor.take_up(["a"])
        assert site.supervisor.controller("a") is controller
        site.made["a"].take_up.assert_called_once_with()

    run(test)


def test_after_the_end_no_controller_is_started() -> None:
    async def test(site: Site) -> None:
        site.supervisor.controller("a")
        await site.supervisor.stop()
        site.made["a"].stop.assert_awaited_once_with()
        site.announcer.stop.assert_called_once_with()
        site.supervisor.take_up(["late"])
        assert site.registry.names() == ["a"]

    run(test)


def test_a_removed_app_is_forgotten() -> None:
    async def test(site: Site) -> None:
        site.supervisor.controller("a")
        site.supervisor.restart("a")
        site.supervisor.forget("a")
        site.made["a"].actuator.forget.assert_called_once_with()
        assert site.registry.names() == []
        site.announcer.forget.assert_called_once_with("a")

    run(test)
