"""Requests for a new generation, and what is refused before anything changes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest

from deployd.apps.history_recovery import HistoryRecovery
from deployd.apps.installer import Installer
from deployd.apps.registry import Registry
from deployd.apps.requests import Requests
from deployd.apps.rollback_goal import RollbackGoal
from deployd.apps.rollout_starter import RolloutStarter
from deployd.apps.turns import Turns
from deployd.errors import Busy, DeploydError, InvalidRequest, Refused, StateError
from deployd.instances.recall import Recall
from deployd.model.app import MOST_STEERED, App, Routing
from deployd.model.generation import Cause, Result
from deployd.model.rollout import Phase, Rollout
from deployd.rollout.controller import Controller
from deployd.rollout.generations import Generations
from deployd.rollout.hooks import Hooks
from deployd.rollout.release_reader import ReleaseReader
from deployd.state.history import History
from tests.state.four_rollouts import SETTINGS, generation

CURRENT = generation(7, Result.SUCCEEDED)
UNDER_WAY = Rollout("demo", 7, 8)


class Site:
    """The app demo at generation 7, perhaps with a rollout under way; new generations get number 9."""

    def __init__(self, rollout: Rollout | None = None) -> None:
        self.controller: MagicMock = create_autospec(Controller, instance=True)
        self.controller.rollout = rollout
        self.controller.recall = create_autospec(Recall, instance=True)
        registry = create_autospec(Registry, instance=True)
        registry.known.return_value = self.controller
        registry.rollout.return_value = rollout
        self.releases = create_autospec(ReleaseReader, instance=True)
        self.releases.unchanged.side_effect = lambda item: item.release
        self.history = create_autospec(History, instance=True)
        self.history.current.return_value = 7
        self.history.generation.return_value = CURRENT
        generations = Generations(self.history)
        self.starter = create_autospec(RolloutStarter, instance=True)
        self.starter.begin.return_value = 9
        self.installer = create_autospec(Installer, instance=True)
        self.installer.reinstalled.return_value = False
        self.installer.install.return_value = 9
        self.goal = create_autospec(RollbackGoal, instance=True)
        self.goal.find.return_value = replace(CURRENT, number=6)
        self.recovery = create_autospec(HistoryRecovery, instance=True)
        turns = Turns(create_autospec(Hooks, instance=True), self.recovery)
        self.requests = Requests(
            registry, turns, self.load, self.releases, generations, self.starter, self.installer, self.goal
        )

    async def load(self, _name: str) -> App:
        return SETTINGS

    def refused(self, request: Coroutine[Any, Any, int], error: type[DeploydError]) -> str:
        with pytest.raises(error) as raised:
            asyncio.run(request)
        self.starter.begin.assert_not_called()
        self.installer.install.assert_not_called()
        return str(raised.value)


def test_changed_settings_are_rolled_out() -> None:
    site = Site()
    assert asyncio.run(site.requests.apply("demo")) == 9
    assert site.starter.begin.await_args.args[2] is Cause.APPLY


def test_an_unchanged_app_gets_no_new_generation() -> None:
    site = Site()
    site.installer.reinstalled.return_value = True
    assert asyncio.run(site.requests.apply("demo")) == 0
    site.starter.begin.assert_not_called()


def test_a_rollout_under_way_is_superseded_even_by_the_current_settings() -> None:
    site = Site(UNDER_WAY)
    site.installer.reinstalled.return_value = True
    assert asyncio.run(site.requests.apply("demo", supersede=True)) == 9
    site.installer.reinstalled.assert_not_called()


def test_no_start_is_for_the_first_deployment() -> None:
    site = Site()
    message = site.refused(site.requests.apply("demo", start=False), Refused)
    assert message == "demo is deployed already; --no-start is for the first deployment only"
    site.history.current.return_value = None
    assert asyncio.run(site.requests.apply("demo", start=False)) == 9
    site.starter.begin.assert_not_called()


@pytest.mark.parametrize(
    ("phase", "hint"),
    [
        (Phase.ROLLING, "wait for its end, roll it back with deployd abort demo"),
        (Phase.PAUSED, "continue it with deployd resume demo, roll it back with deployd abort demo"),
    ],
)
def test_one_rollout_at_a_time(phase: Phase, hint: str) -> None:
    site = Site(replace(UNDER_WAY, phase=phase))
    for request in (site.requests.apply, site.requests.rollout, site.requests.rollback, site.requests.restart):
        message = site.refused(request("demo"), Busy)
        assert message == f"a rollout of demo to generation 8 is {phase}; {hint}, or replace it with --supersede"
    assert asyncio.run(site.requests.rollout("demo", supersede=True)) == 9


@pytest.mark.parametrize("instances", [0, 1001])
def test_the_number_of_instances_is_limited(instances: int) -> None:
    site = Site()
    message = site.refused(site.requests.scale("demo", instances), InvalidRequest)
    assert message == f"{instances} instances: allowed are 1 to 1000"


def test_steered_apps_have_fewer_instances() -> None:
    site = Site()
    settings = replace(CURRENT.settings, routing=Routing.STEERED)
    site.history.generation.return_value = replace(CURRENT, settings=settings)
    message = site.refused(site.requests.scale("demo", MOST_STEERED + 1), Refused)
    assert f"at most {MOST_STEERED}" in message
    assert asyncio.run(site.requests.scale("demo", MOST_STEERED)) == 9
    assert site.starter.begin.await_args.args[0].instances == MOST_STEERED


def test_a_rollback_wakes_standby_instances_first() -> None:
    site = Site()
    assert asyncio.run(site.requests.rollback("demo")) == 9
    site.controller.recall.begin.assert_called_once_with(6, CURRENT.settings)
    site.controller.recall.cancel.assert_not_called()


def test_a_refused_rollback_returns_them_to_standby() -> None:
    site = Site()
    site.releases.unchanged.side_effect = Refused("the release /srv/demo/7 has changed")
    assert "has changed" in site.refused(site.requests.rollback("demo"), Refused)
    site.controller.recall.cancel.assert_called_once()


def test_an_unusable_history_refuses_all_requests() -> None:
    site = Site()
    site.recovery.require.side_effect = StateError("history.sqlite is damaged; run deployd repair")
    for request in (site.requests.apply, site.requests.rollout, site.requests.rollback, site.requests.restart):
        assert "run deployd repair" in site.refused(request("demo"), StateError)
