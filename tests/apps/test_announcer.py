"""The rate at which the status of an app is broadcast."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from deployd.apps.announcer import LAG, PACE, Announcer
from deployd.errors import NoSuchApp


class Apps:
    """What is broadcast, and the phase of each app."""

    def __init__(self) -> None:
        self.broadcast: list[str] = []
        self.phase: dict[str, str] = {}
        self.error: Exception | None = None
        self.announcer = Announcer(self.emit, lambda app: {"app": app}, self.phase.get)

    def emit(self, app: str, kind: str, fields: dict[str, Any]) -> None:
        assert (kind, fields["app"]) == ("changed", app)
        self.broadcast.append(app)
        if self.error is not None:
            raise self.error

    async def change(self, seconds: float, every: float = 0.005) -> int:
        """Change all the time; return the number of broadcasts."""
        before, loop = len(self.broadcast), asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            self.announcer.changed("demo")
            await asyncio.sleep(every)
        return len(self.broadcast) - before


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(test)


def test_many_changes_are_combined_and_the_last_one_is_broadcast() -> None:
    async def test() -> None:
        apps = Apps()
        assert await apps.change(2 * PACE + 4 * LAG) <= 4  # not 20 a second
        count = len(apps.broadcast)
        apps.announcer.changed("demo")
        await asyncio.sleep(PACE + 4 * LAG)
        assert len(apps.broadcast) == count + 1

    run(test())


def test_a_new_phase_is_broadcast_soon() -> None:
    async def test() -> None:
        apps = Apps()
        await apps.change(2 * LAG)
        count = len(apps.broadcast)
        apps.announcer.changed("demo")
        apps.phase["demo"] = "paused"
        apps.announcer.changed("demo")
        await asyncio.sleep(2 * LAG)
        assert len(apps.broadcast) == count + 1

    run(test())


def test_a_failed_broadcast_does_not_prevent_the_next() -> None:
    async def test() -> None:
        apps = Apps()
        apps.error = ValueError("no status")
        await apps.change(2 * LAG)
        assert apps.broadcast == ["demo"]
        apps.announcer.changed("demo")
        await asyncio.sleep(PACE + 4 * LAG)
        assert apps.broadcast == ["demo"] * 2
        apps.announcer.changed("demo")
        apps.announcer.forget("demo")
        await asyncio.sleep(PACE + 4 * LAG)
        assert apps.broadcast == ["demo"] * 2

    run(test())


def test_a_removed_app_is_not_broadcast() -> None:
    async def test() -> None:
        apps = Apps()
        apps.error = NoSuchApp("there is no app demo")
        await apps.change(2 * LAG)
        apps.announcer.changed("demo")
        apps.announcer.forget("demo")
        count = len(apps.broadcast)
        await asyncio.sleep(PACE + 4 * LAG)
        assert len(apps.broadcast) == count

    run(test())


def test_nothing_is_broadcast_after_the_end() -> None:
    async def test() -> None:
        apps = Apps()
        apps.announcer.stop()
        assert await apps.change(2 * LAG) == 0

    run(test())
