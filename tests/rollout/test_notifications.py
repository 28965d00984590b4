"""Hooks that report: which event is reported to which of them, and that none is lost or affects a rollout."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.errors import StateError, SystemdError
from deployd.model.event import EventName
from deployd.model.failure import Failure
from deployd.model.generation import Generation
from deployd.model.pace import HookKind, HookSettings, Pace
from deployd.rollout.hook_runner import Change, HookRunner
from deployd.rollout.notifications import Notifications, kinds
from deployd.state.history import History
from deployd.state.spool import Spool
from deployd.systemd.transient import Transient
from tests.state.four_rollouts import SETTINGS, generation

SECOND = ("bin/second",)
HOOKS = HookSettings(
    failed=(("bin/failed",), SECOND),
    paused=(("bin/paused",), SECOND),
    rolled_back=(("bin/rolled_back",), SECOND),
    finished=(("bin/finished",), SECOND),
)
HOOKED = replace(SETTINGS, pace=Pace(hooks=HOOKS))
PAUSED = {"from": 7, "to": 8, "reason": "canary: 1 new\nalongside 4 old", "pause": "held"}


class Site:
    """An app whose generation 8 has hooks; `runner` notes what is run, and raises `problems` first."""

    def __init__(self, directory: Path) -> None:
        self.history = create_autospec(History, instance=True)
        self.history.generation.side_effect = lambda app, number: self.generations.get(number)
        self.history.releases.return_value = {7: "/srv/demo/7"}
        self.generations: dict[int, Generation] = {8: replace(generation(8), settings=HOOKED, origin=7)}
        self.spool = Spool(directory)
        self.runner = create_autospec(HookRunner, instance=True)
        self.runner.run.side_effect = self._run
        self.ran: list[tuple[str, str, dict[str, Any]]] = []
        self.problems: list[BaseException | None] = []
        self.made = self.make()

    def make(self) -> Notifications:
        transient = create_autospec(Transient, instance=True)
        return Notifications("demo", self.history, self.spool, transient, self.runner, lambda *_: None)

    async def _run(
        self,
        unit: str,
        kind: HookKind,
        change: Change,
        argv: tuple[str, ...],
        emit: object,
        *,
        environment: dict[str, str],
        stdin: str,
    ) -> Failure | None:
        assert (unit, change.generation, change.old_release) == ("demo:notification.service", 8, "/srv/demo/7")
        self.ran.append((argv[0], environment["DEPLOYD_REASON"], json.loads(Path(stdin).read_text())))
        if self.problems and (problem := self.problems.pop(0)):
            raise problem
        return None

    async def delivered(self) -> None:
        assert self.made._task is not None
        await self.made._task


@pytest.mark.parametrize(
    ("event", "fields", "expected"),
    [
        (EventName.FAILED_GATE, {}, "failed"),
        (EventName.WATCH, {"state": "failed"}, "failed"),
        (EventName.WATCH, {"state": "started"}, ""),
        (EventName.STARTED, {"cause": "watch"}, "failed"),
        (EventName.STARTED, {"cause": "rollout"}, ""),
        (EventName.PAUSED, {}, "paused"),
        (EventName.TAKEN_BACK, {}, "rolled_back"),
        (EventName.FINISHED, {"result": "rolled-back"}, "rolled_back finished"),
        (EventName.FINISHED, {"result": "succeeded"}, "finished"),
        (EventName.HOOK, {"state": "failed"}, ""),
        (EventName.INSTANCE, {"state": "failed"}, ""),
    ],
)
def test_events_and_their_hooks(event: EventName, fields: dict[str, Any], expected: str) -> None:
    assert " ".join(kinds(event, fields)) == expected


def test_all_hooks_of_an_event_get_the_document(tmp_path: Path) -> None:
    async def work() -> None:
        site = Site(tmp_path)
        site.made.report(EventName.PAUSED, PAUSED)
        await site.delivered()
        (first, reason, document), (second, _, again) = site.ran
        assert (first, second, reason) == ("bin/paused", "bin/second", "canary: 1 new\\nalongside 4 old")
        assert document == again
        assert PAUSED.items() <= document.items()
        assert (document["app"], document["hook"], document["event"]) == ("demo", "paused", "paused")
        assert document["release"] == "/srv/demo/8"
        assert site.spool.pending("demo") == []

    asyncio.run(work())


def test_nothing_is_written_without_a_hook(tmp_path: Path) -> None:
    async def work() -> None:
        site = Site(tmp_path)
        site.generations[9] = generation(9)
        for number in (9, 10, None):
            site.made.report(EventName.PAUSED, {**PAUSED, "to": number})
        site.made.report(EventName.RESUMED, PAUSED)
        assert not list(tmp_path.iterdir())

    asyncio.run(work())


def test_a_hook_that_cannot_be_run_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    async def work() -> None:
        site = Site(tmp_path)
        site.problems = [SystemdError("no settings")]
        site.made.report(EventName.PAUSED, PAUSED)
        site.made.report(EventName.FINISHED, {"to": 8, "result": "succeeded", "reason": ""})
        await site.delivered()
        assert [name for name, _, _ in site.ran] == ["bin/paused", "bin/second", "bin/finished", "bin/second"]

    asyncio.run(work())


def test_what_a_stopped_daemon_did_not_deliver_is_delivered_by_the_next(tmp_path: Path) -> None:
    async def work() -> None:
        site, hanging = Site(tmp_path), asyncio.Event()

        async def hang(*_: object, **__: object) -> None:
            hanging.set()
            await asyncio.Event().wait()

        site.runner.run.side_effect = hang
        site.made.report(EventName.PAUSED, PAUSED)
        await hanging.wait()
        await site.made.stop()
        site.made.report(EventName.FINISHED, {"to": 8, "result": "aborted", "reason": ""})

        site.runner.run.side_effect = site._run
        site.made = site.make()
        site.made.start()
        await site.delivered()
        assert [document["event"] for _, _, document in site.ran] == ["paused", "paused", "finished", "finished"]

    asyncio.run(work())


def test_a_removed_app_reports_nothing_any_more(tmp_path: Path) -> None:
    async def work() -> None:
        site = Site(tmp_path)
        await site.made.stop()
        site.made.report(EventName.PAUSED, PAUSED)
        await site.made.end()
        assert site.spool.pending("demo") == []

    asyncio.run(work())


def test_a_history_that_cannot_be_read_prevents_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        site = Site(tmp_path)
        site.history.generation.side_effect = StateError("the history is damaged")
        site.made.report(EventName.PAUSED, PAUSED)

    asyncio.run(work())
    assert "was not reported to the paused hooks: the history is damaged" in caplog.text
