"""What no signal tells is looked at again and again, without ever starting a daemon that somebody has stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from deployd.api import Client
from deployd.errors import Unreachable
from deployd_cli import glance
from tests.cli.fake_daemon import status


class Daemon:
    """There or not (`answers`, one for each look), and how often it was asked."""

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
            raise Unreachable("it went away just now")
        return answer


def looked(daemon: Callable[[], Daemon], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How often it was asked and how often somebody was told."""
    monkeypatch.setattr(glance, "EVERY", 0)
    told: list[Mapping[str, Any]] = []

    async def work() -> int:
        there = daemon()
        async with asyncio.timeout(20), glance.glances(cast(Client, there), "demo", told.append):
            await there.over.wait()
        return there.asked

    return asyncio.run(work()), len(told)


def test_a_steered_app_is_looked_at_while_the_daemon_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    steered = status(routing="steered")
    assert looked(lambda: Daemon(steered, None, {}, steered), monkeypatch) == (3, 2)


def test_an_app_with_one_socket_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "EVERY", 0)
    told: list[Mapping[str, Any]] = []

    async def work() -> int:
        there = Daemon(status(), status())
        async with asyncio.timeout(20):
            await glance._look(cast(Client, there), "demo", told.append)
        return there.asked

    assert (asyncio.run(work()), told) == (1, [])
