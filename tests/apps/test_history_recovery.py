"""A history that cannot be used is reported, retried while it is locked, and rebuilt on request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from deployd.apps import history_recovery
from deployd.apps.history_recovery import HistoryRecovery
from deployd.errors import StateError
from deployd.state.history import History
from deployd.state.source import Source


class Site:
    """The recovery of a history of the app demo."""

    def __init__(self) -> None:
        self.taken_up: list[list[str]] = []
        self.source = create_autospec(Source, instance=True)
        self.source.path = Path("/var/lib/deployd/history.sqlite")
        self.source.locked = False
        self.source.refresh.return_value = False
        self.source.trouble.return_value = ""
        history = create_autospec(History, instance=True)
        history.source = self.source
        history.apps.return_value = ["demo"]
        history.current.return_value = 7
        history.rollout.return_value = None
        self.recovery = HistoryRecovery(history, self.take_up)

    def take_up(self, names: Iterable[str]) -> None:
        self.taken_up.append(list(names))


def run(test: Callable[[Site], Coroutine[None, None, None]]) -> None:
    asyncio.run(test(Site()))


def test_requests_are_refused_while_the_history_cannot_be_used() -> None:
    async def test(site: Site) -> None:
        site.recovery.require("demo")
        site.source.trouble.return_value = "history.sqlite is damaged; run deployd repair"
        with pytest.raises(StateError, match="run deployd repair"):
            site.recovery.require("demo")
        assert site.taken_up == []

    run(test)


def test_apps_continue_with_a_history_that_was_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async def test(site: Site) -> None:
        site.source.refresh.return_value = True
        site.source.trouble.return_value = "history.sqlite is damaged"
        site.recovery.refresh()
        assert site.taken_up == [["demo"]]

    with caplog.at_level(logging.ERROR):
        run(test)
    assert caplog.messages == ["history.sqlite is damaged"], "once, not for each app"


def test_a_locked_history_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_recovery, "LOCKED", 0.01)

    async def test(site: Site) -> None:
        def refresh() -> bool:
            site.source.locked = site.source.refresh.call_count < 3
            return not site.source.locked

        site.source.locked = True
        site.source.refresh.side_effect = refresh
        site.recovery.start()
        async with asyncio.timeout(20):
            while not site.taken_up:
                await asyncio.sleep(0.01)
        assert site.source.refresh.call_count == 3

    run(test)


def test_after_the_end_the_history_is_left_alone() -> None:
    async def test(site: Site) -> None:
        site.source.locked = True
        site.recovery.start()
        site.recovery.stop()
        site.recovery.refresh()
        site.source.refresh.assert_not_called()

    run(test)


def test_repair_rebuilds_the_history_and_reports_its_apps() -> None:
    async def test(site: Site) -> None:
        site.source.examine.return_value = {}
        site.source.repair.return_value = (Path("/var/lib/deployd/history.sqlite.1"), ["demo"])
        answer = await site.recovery.repair()
        assert answer == {
            "history": "/var/lib/deployd/history.sqlite",
            "aside": "/var/lib/deployd/history.sqlite.1",
            "apps": [{"app": "demo", "generation": 7, "rollout": None, "history_error": None}],
        }
        assert site.taken_up == [["demo"]]

    run(test)
