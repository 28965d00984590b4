"""A removal that fails leaves an app that is known and can be removed again."""

from __future__ import annotations

import asyncio
from unittest.mock import MagicMock, create_autospec

import pytest

from deployd.apps.history_recovery import HistoryRecovery
from deployd.apps.host_draining import HostDraining
from deployd.apps.registry import Registry
from deployd.apps.removal import Removal
from deployd.apps.supervisor import Supervisor
from deployd.apps.turns import Turns
from deployd.errors import StateError, SystemdError
from deployd.rollout.controller import Controller
from deployd.rollout.hooks import Hooks
from deployd.rollout.teardown import JOB_MARGIN, Teardown
from deployd.state.history import History
from deployd.state.pins import Pins
from tests.state.four_rollouts import SETTINGS


class Site:
    """The app demo, of which instances 1 and 2 run."""

    def __init__(self) -> None:
        self.controller: MagicMock | None = create_autospec(Controller, instance=True)
        self.registry = create_autospec(Registry, instance=True)
        self.registry.controller.side_effect = lambda _: self.controller
        self.registry.members.side_effect = lambda _: [] if self.controller is None else [self.controller]
        assert self.controller is not None
        self.controller.name = "demo"
        self.supervisor = create_autospec(Supervisor, instance=True)
        self.teardown = create_autospec(Teardown, instance=True)
        self.history, self.pins = create_autospec(History, instance=True), create_autospec(Pins, instance=True)
        self.history.current.return_value, self.history.settings.return_value = 7, SETTINGS
        self.pins.held.return_value = {1: 7, 2: 7}
        self.draining = create_autospec(HostDraining, instance=True)
        turns = Turns(create_autospec(Hooks, instance=True), create_autospec(HistoryRecovery, instance=True))
        self.removal = Removal(
            self.registry, self.supervisor, turns, self.teardown, self.history, self.pins, self.draining
        )

    def remove(self) -> None:
        asyncio.run(self.removal.remove("demo"))


@pytest.fixture
def site() -> Site:
    return Site()


def test_everything_is_stopped_then_forgotten(site: Site) -> None:
    site.remove()
    assert site.controller is not None
    site.controller.end.assert_awaited_once_with("the app was removed")
    site.teardown.run.assert_awaited_once_with("demo", SETTINGS.stop.timeout + JOB_MARGIN)
    site.history.forget.assert_called_once_with("demo")
    site.supervisor.forget.assert_called_once_with("demo")


def test_an_app_that_was_never_deployed_needs_no_teardown(site: Site) -> None:
    site.controller, site.teardown.installed.return_value = None, False
    site.remove()
    site.teardown.run.assert_not_called()


@pytest.mark.parametrize("part", ["teardown.check", "history.require_writable"])
def test_nothing_is_stopped_if_the_state_cannot_be_written(site: Site, part: str) -> None:
    room, method = part.split(".")
    getattr(getattr(site, room), method).side_effect = StateError("the file system is read-only")
    with pytest.raises(StateError, match="read-only"):
        site.remove()
    assert site.controller is not None
    site.controller.end.assert_not_called()


@pytest.mark.parametrize("error", [SystemdError("no reply"), RuntimeError("a defect"), asyncio.CancelledError()])
def test_an_app_that_is_half_removed_is_watched_again(site: Site, error: BaseException) -> None:
    site.teardown.run.side_effect = error
    with pytest.raises(type(error)) as raised:
        site.remove()
    site.supervisor.restart.assert_called_once_with("demo", "demo")
    site.supervisor.forget.assert_not_called()
    hint = "demo is half removed: correct this, then finish with deployd remove demo"
    assert (hint in str(raised.value)) is isinstance(error, SystemdError)
