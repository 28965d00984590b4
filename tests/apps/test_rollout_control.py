"""Pause, resume and abort of the rollout under way, and what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import create_autospec

import pytest

from deployd.apps.history_recovery import HistoryRecovery
from deployd.apps.registry import Registry
from deployd.apps.rollback_goal import RollbackGoal
from deployd.apps.rollout_control import RolloutControl, UnderWay
from deployd.errors import Busy, Refused, StateError
from deployd.model.generation import Cause, Result
from deployd.model.probation import Probation
from deployd.model.rollout import Phase, Rollout
from deployd.plan.transitions import Event
from deployd.rollout.controller import Controller
from deployd.rollout.generations import Generations
from deployd.rollout.hooks import Hooks
from deployd.rollout.release_reader import ReleaseReader
from deployd.state.history import History
from tests.state.four_rollouts import generation

UNDER_WAY = Rollout("demo", 7, 8)


class Site:
    """The app demo, with a rollout from generation 7 to 8."""

    def __init__(self, rollout: Rollout | None = UNDER_WAY) -> None:
        self.controller = create_autospec(Controller, instance=True)
        self.controller.rollout = rollout
        self.controller.target = generation(8) if rollout is not None else None
        self.controller.send.return_value = True
        self.controller.accept.return_value = False
        self.controller.watched.return_value = None
        registry = create_autospec(Registry, instance=True)
        registry.known.return_value, registry.members.return_value = self.controller, [self.controller]
        registry.rollout.return_value = rollout
        self.hooks = create_autospec(Hooks, instance=True)
        self.recovery = create_autospec(HistoryRecovery, instance=True)
        self.releases = create_autospec(ReleaseReader, instance=True)
        self.releases.missing.return_value = ""
        history = create_autospec(History, instance=True)
        history.past.return_value = [generation(number, Result.SUCCEEDED) for number in (7, 6)]
        history.current.return_value = 7
        history.generation.side_effect = lambda _, number: generation(number, Result.SUCCEEDED)
        self.rollback_goal = RollbackGoal(registry, history, Generations(history))
        self.control = RolloutControl(UnderWay(registry, self.hooks, self.recovery), self.releases, self.rollback_goal)


def test_events_are_sent_to_the_rollout() -> None:
    site = Site()
    site.control.pause("demo")
    asyncio.run(site.control.resume("demo"))
    site.control.abort("demo")
    events = [call.args for call in site.controller.send.call_args_list]
    assert events == [
        (Event.PAUSE, "paused by request"),
        (Event.RESUME, ""),
        (Event.ABORT, "aborted by request"),
    ]


def test_without_a_rollout_there_is_nothing_to_control() -> None:
    site = Site(None)
    with pytest.raises(Refused, match="no rollout of demo is under way"):
        site.control.pause("demo")
    site.hooks.refuse_if_ahead.side_effect = Busy("a rollout of demo is about to begin")
    with pytest.raises(Busy, match="about to begin"):
        site.control.abort("demo")
    site.recovery.require.side_effect = StateError("history.sqlite is damaged")
    with pytest.raises(StateError):
        asyncio.run(site.control.resume("demo"))


def test_an_event_that_makes_no_sense_is_refused() -> None:
    site = Site(replace(UNDER_WAY, phase=Phase.ROLLING_BACK))
    site.controller.send.return_value = False
    with pytest.raises(Refused, match="the rollout of demo is rolling-back: cannot pause"):
        site.control.pause("demo")


def test_a_rollout_whose_release_is_missing_cannot_be_resumed() -> None:
    site = Site()
    site.releases.missing.return_value = "the release /srv/demo/8 is gone"
    with pytest.raises(Refused, match="is gone: put it back and resume, or use deployd abort demo to roll back"):
        asyncio.run(site.control.resume("demo"))
    site.controller.send.assert_not_called()


def test_an_irreversible_rollout_is_aborted_only_if_that_is_wanted() -> None:
    site = Site()
    site.controller.target = replace(generation(8), irreversible=True)
    with pytest.raises(Refused, match="generation 8 of demo is irreversible"):
        site.control.abort("demo")
    with pytest.raises(Refused, match="deployd abort demo --past-irreversible"):
        site.rollback_goal.find("demo", 0, past_irreversible=False)
    site.controller.send.assert_not_called()
    site.control.abort("demo", past_irreversible=True)
    site.controller.send.assert_called_once_with(Event.ABORT, "aborted by request")


@pytest.mark.parametrize(("has", "words"), [(0, "is of no fleet"), (12, "has the token 12")])
def test_an_abort_of_a_fleet_affects_no_other_rollout(has: int, words: str) -> None:
    site = Site()
    site.controller.target = replace(generation(8), fleet="web" if has else "", token=has)
    with pytest.raises(Refused, match=f"^the rollout of demo in progress {words}; the one with the token 11 is not"):
        site.control.abort("demo", token=11)
    with pytest.raises(Refused, match="the one with the token 0 is not in progress"):
        site.control.abort("demo", token=0)
    site.controller.send.assert_not_called()
    site.controller.target = replace(generation(8), fleet="web", token=11)
    site.control.abort("demo", token=11)
    site.controller.send.assert_called_once_with(Event.ABORT, "aborted by request")
    with pytest.raises(Refused, match="no rollout of demo is under way"):
        Site(None).control.abort("demo", token=11)


def test_a_rollback_returns_to_the_origin_of_the_rollout_under_way() -> None:
    assert Site().rollback_goal.find("demo", 0, past_irreversible=False).number == 7
    assert Site(None).rollback_goal.find("demo", 0, past_irreversible=False).number == 6


def test_a_rollback_does_not_return_to_what_is_being_rolled_back_automatically() -> None:
    site = Site()
    site.controller.target = replace(generation(8), cause=Cause.WATCH)
    with pytest.raises(Refused, match="generation 7 of demo is being rolled back automatically"):
        site.rollback_goal.find("demo", 0, past_irreversible=False)
    assert site.rollback_goal.find("demo", 6, past_irreversible=False).number == 6


def test_without_a_rollout_a_resume_ends_the_probation_and_an_abort_names_what_can_be_done() -> None:
    site = Site(None)
    site.controller.watched.return_value = Probation("demo", 7, 6, "", 0.0, 0.0, 300.0, "boot", ends=1.8e9)
    with pytest.raises(
        Refused, match=r"generation 7 is live and watched until 20.*: roll it back with deployd rollback"
    ):
        site.control.abort("demo")
    site.controller.accept.return_value = True
    asyncio.run(site.control.resume("demo"))
    site.controller.send.assert_not_called()
