"""How often the status of an app is made for watchers that may not be there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from deployd.apps.announcer import LAG, PACE, Announcer


class Apps:
    """What is told, and how each app stands."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.standing: dict[str, str] = {}
        self.fails = False
        self.announcer = Announcer(self.tell, self.standing.get)

    def tell(self, app: str) -> None:
        self.told.append(app)
        if self.fails:
            raise ValueError("no status")

    async def change(self, seconds: float, every: float = 0.005) -> int:
        """Changes all the time; how often it was told."""
        before, loop = len(self.told), asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            self.announcer.changed("demo")
            await asyncio.sleep(every)
        return len(self.told) - before


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(test)


def test_many_changes_are_told_now_and_then_and_the_last_one_too() -> None:
    async def test() -> None:
        apps = Apps()
        assert await apps.change(2 * PACE + 4 * LAG) <= 4  # not 20 a second
        count = len(apps.told)
        apps.announcer.changed("demo")
        await asyncio.sleep(PACE + 4 * LAG)
        assert len(apps.told) == count + 1

    run(test())


def test_a_rollout_that_turns_is_told_soon() -> None:
    async def test() -> None:
        apps = Apps()
        await apps.change(2 * LAG)
        count = len(apps.told)
        apps.announcer.changed("demo")
        apps.standing["demo"] = "paused"
        apps.announcer.changed("demo")
        await asyncio.sleep(2 * LAG)
        assert len(apps.told) == count + 1

    run(test())


def test_what_fails_is_told_again_and_what_was_removed_is_not() -> None:
    async def test() -> None:
        apps = Apps()
        apps.fails = True
        await apps.change(2 * LAG)
        assert apps.told == ["demo"]
        apps.announcer.changed("demo")
        await asyncio.sleep(PACE + 4 * LAG)
        assert apps.told == ["demo"] * 2
        apps.announcer.changed("demo")
        apps.announcer.forget("demo")
        await asyncio.sleep(PACE + 4 * LAG)
        assert apps.told == ["demo"] * 2

    run(test())
