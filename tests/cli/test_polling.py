"""Polls of a steered app, which never start a daemon that an administrator has stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from deployd.api import Client
from deployd.errors import Unreachable
from deployd_cli import polling
from tests.cli.fake_daemon import status


class Daemon:
    """A daemon that runs or not: `answers` has a status, an error ({}) or None (not running) for each poll."""

    def __init__(self, *answers: dict[str, Any] | None) -> None:
        self._answers = [*answers]
        self.asked = 0
        self.over = asyncio.Event()

    async def present(self) -> bool:
        if not self._answers:
            self.over.set()
            await asyncio.Event().wait()
        if self._answers[0] is None:
            self._answers.pop(0)
            return False
        return True

    async def status(self, _: str) -> dict[str, Any]:
        self.asked += 1
        answer = self._answers.pop(0)
        assert answer is not None
        if not answer:
            raise Unreachable("it stopped just now")
        return answer


def polled(daemon: Callable[[], Daemon], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return how often the daemon was asked and how many statuses were received."""
    monkeypatch.setattr(polling, "INTERVAL", 0)
    received: list[Mapping[str, Any]] = []

    async def work() -> int:
        there = daemon()
        async with asyncio.timeout(20), polling.polled(cast(Client, there), "demo", received.append):
            await there.over.wait()
        return there.asked

    return asyncio.run(work()), len(received)


def test_a_steered_app_is_polled_while_the_daemon_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    steered = status(routing="steered")
    assert polled(lambda: Daemon(steered, None, {}, steered), monkeypatch) == (3, 2)


def test_an_app_with_one_socket_is_polled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "INTERVAL", 0)
    received: list[Mapping[str, Any]] = []

    async def work() -> int:
        there = Daemon(status(), status())
        async with asyncio.timeout(20):
            await polling._poll(cast(Client, there), "demo", received.append)
        return there.asked

    assert (asyncio.run(work()), received) == (1, [])
