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
from deployd.model.app import MOST_STEERED, App, Applied, Routing
from deployd.model.fleet import FleetRequest
from deployd.model.generation import Cause, Generation, Result
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

    directory = CURRENT.release
    """Where the release of the app file leads."""

    def __init__(self, rollout: Rollout | None = None) -> None:
        self.controller: MagicMock = create_autospec(Controller, instance=True)
        self.controller.rollout = rollout
        self.controller.target = None
        self.controller.recall = create_autospec(Recall, instance=True)
        registry = create_autospec(Registry, instance=True)
        registry.known.return_value = self.controller
        registry.rollout.return_value = rollout
        self.releases = create_autospec(ReleaseReader, instance=True)
        self.releases.unchanged.side_effect = lambda item: item.release
        self.releases.capture.side_effect = lambda app: app
        self.releases.require_runnable.return_value = ()
        self.releases.directory.side_effect = lambda _: self.directory
        self.releases.resolve.side_effect = lambda _, release, agreed: agreed or release or self.directory
        self.history = create_autospec(History, instance=True)
        self.history.current.return_value = 7
        self.known = {7: CURRENT}
        self.history.generation.side_effect = lambda _, number: self.known.get(number)
        self.history.past.side_effect = lambda _: sorted(self.known.values(), key=lambda item: -item.number)
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
    site.known[7] = replace(CURRENT, settings=settings)
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


def live(settings: App = SETTINGS, release: str = "/srv/demo/v2", led_to: str = "/srv/demo/v1") -> Generation:
    """Return a generation that was made while the release of the app file led elsewhere."""
    applied = Applied(settings.release, led_to, settings.instances)
    return replace(CURRENT, release=release, settings=replace(settings, applied=applied))


def rolled_out(site: Site) -> tuple[str, App, str]:
    """Return release, settings and warning of the generation that was begun."""
    begun = site.starter.begin.await_args
    return begun.args[1], begun.args[0], "".join(begun.kwargs.get("warnings", ()))


@pytest.mark.parametrize("verb", ["apply", "rollout"])
def test_the_live_release_stays_until_the_app_file_leads_elsewhere(verb: str) -> None:
    site = Site()
    site.known[7], site.directory = live(), "/srv/demo/v1"
    asyncio.run(getattr(site.requests, verb)("demo"))
    release, settings, warning = rolled_out(site)
    assert (release, settings.applied) == ("/srv/demo/v2", Applied(SETTINGS.release, "/srv/demo/v1", 2))
    assert warning == (
        "/srv/demo/v2 stays live; the release of the app file still leads to /srv/demo/v1, as when it was last"
        " applied; to roll that out, run deployd rollout demo --release /srv/demo/v1"
    )
    site.directory = "/srv/demo/v3"
    asyncio.run(getattr(site.requests, verb)("demo"))
    assert rolled_out(site)[::2] == ("/srv/demo/v3", "")
    site.directory = "/srv/demo/v1"
    site.known[7] = live(replace(SETTINGS, release="/srv/demo/v1"))  # other words for the same directory are a change
    asyncio.run(getattr(site.requests, verb)("demo"))
    assert rolled_out(site)[0] == "/srv/demo/v1"


def test_a_requested_release_is_rolled_out_and_what_the_file_said_then_is_recorded() -> None:
    site = Site()
    site.known[7], site.directory = live(), "/srv/demo/v3"
    asyncio.run(site.requests.rollout("demo", "/srv/demo/v4"))
    release, settings, _ = rolled_out(site)
    assert (release, settings.applied) == ("/srv/demo/v4", Applied(SETTINGS.release, "/srv/demo/v3", 2))


def test_what_was_rolled_back_or_aborted_stays_so_and_what_failed_is_tried_again() -> None:
    site = Site()
    site.directory = "/srv/demo/v2"
    site.known[7] = live(release="/srv/demo/v1", led_to="/srv/demo/v1")
    for result, comes in ((Result.ROLLED_BACK, "/srv/demo/v2"), (Result.ABORTED, "/srv/demo/v1")):
        site.known[8] = replace(live(led_to="/srv/demo/v2"), number=8, result=result)
        asyncio.run(site.requests.rollout("demo", cause=Cause.RELOAD))
        assert rolled_out(site)[0] == comes
    site.known = {7: live(led_to="/srv/demo/v2"), 6: live(release="/srv/demo/v1", led_to="/srv/demo/v1")}
    asyncio.run(site.requests.rollback("demo"))
    assert rolled_out(site)[1].applied == Applied(SETTINGS.release, "/srv/demo/v2", 2)


def test_a_number_of_instances_stays_until_the_app_file_has_another_one() -> None:
    site = Site()
    asyncio.run(site.requests.scale("demo", 5))
    scaled = rolled_out(site)[1]
    assert (scaled.instances, scaled.applied) == (5, Applied(SETTINGS.release, CURRENT.release, 2))
    site.known[7] = replace(CURRENT, settings=scaled)
    asyncio.run(site.requests.apply("demo"))
    assert rolled_out(site)[1].instances == 5
    site.known[7] = replace(CURRENT, settings=replace(scaled, applied=Applied(SETTINGS.release, CURRENT.release, 3)))
    asyncio.run(site.requests.apply("demo"))
    assert rolled_out(site)[1].instances == 2


def test_a_rollout_of_a_fleet_is_begun_once_and_no_older_one_after_it() -> None:
    site, request = Site(UNDER_WAY), FleetRequest("v2", 5)
    site.known[8] = replace(generation(8), release="/srv/demo/v2", fleet="v2", token=5)
    for release in (None, "/srv/demo/v2"):
        assert asyncio.run(site.requests.rollout("demo", release, fleet=request)) == 8, "it is under way"
    with pytest.raises(Refused, match="v2 is a rollout of /srv/demo/v2; a rollout of /srv/demo/v3 needs another ID"):
        asyncio.run(site.requests.rollout("demo", "/srv/demo/v3", fleet=request))
    with pytest.raises(Refused, match="the token 4 is lower than 5, which demo has accepted with v2"):
        asyncio.run(site.requests.rollout("demo", fleet=FleetRequest("v1", 4), supersede=True))
    with pytest.raises(Busy):
        asyncio.run(site.requests.rollout("demo", fleet=FleetRequest("v3", 6)))
    site.starter.begin.assert_not_called()
    asyncio.run(site.requests.rollout("demo", "/srv/demo/v3", fleet=FleetRequest("v3", 6), supersede=True))
    assert site.starter.begin.await_args.kwargs["fleet"] == FleetRequest("v3", 6)


def test_a_rollback_of_a_fleet_is_begun_once_and_not_after_a_newer_rollout() -> None:
    site = Site()
    site.known[8] = replace(generation(8), fleet="back", token=5)
    assert asyncio.run(site.requests.rollback("demo", 6, fleet=FleetRequest("back", 5))) == 8, "it was begun before"
    assert "token 4 is lower" in site.refused(site.requests.rollback("demo", 6, fleet=FleetRequest("old", 4)), Refused)
    asyncio.run(site.requests.rollback("demo", 6, fleet=FleetRequest("new", 6)))
    assert site.starter.begin.await_args.kwargs["fleet"] == FleetRequest("new", 6)


def test_a_rollback_to_a_doubtful_generation_says_what_is_known_against_it() -> None:
    site = Site()
    site.goal.doubts.return_value = ["generation 6 never went live (it ended failed)"]
    asyncio.run(site.requests.rollback("demo", 6))
    assert rolled_out(site)[2] == "generation 6 never went live (it ended failed)"
