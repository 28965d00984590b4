"""One request per app at a time, and a removal before all others."""

from __future__ import annotations

import asyncio
from unittest.mock import create_autospec

import pytest

from deployd.apps.history_recovery import HistoryRecovery
from deployd.apps.turns import Turns
from deployd.errors import Refused
from deployd.rollout.hooks import Hooks


class Apps:
    def __init__(self) -> None:
        self.turns = Turns(create_autospec(Hooks, instance=True), create_autospec(HistoryRecovery, instance=True))
        self.log: list[str] = []
        self.go = asyncio.Event()

    async def request(self, app: str, name: str) -> None:
        async with self.turns.request(app):
            self.log.append(f"{name} begins")
            await self.go.wait()
            self.log.append(f"{name} ends")

    def begin(self, app: str, name: str) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.request(app, name))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_requests_of_an_app_wait_for_each_other_but_not_for_other_apps() -> None:
    async def test() -> None:
        apps = Apps()
        tasks = [apps.begin("a", "first"), apps.begin("a", "second"), apps.begin("b", "other")]
        await settle()
        assert apps.log == ["first begins", "other begins"]
        apps.go.set()
        await asyncio.gather(*tasks)
        assert apps.log[-2:] == ["second begins", "second ends"]

    asyncio.run(test())


def test_a_removal_cancels_the_requests_of_its_app() -> None:
    async def test() -> None:
        apps = Apps()
        hung, queued, other = apps.begin("a", "hung"), apps.begin("a", "queued"), apps.begin("b", "other")
        await settle()
        async with asyncio.timeout(30), apps.turns.removal("a"):
            for task in (hung, queued, apps.begin("a", "late")):
                with pytest.raises(Refused, match="a is being removed"):
                    await task
            another = asyncio.ensure_future(remove(apps))
            await settle()
            assert not another.done()
        await another
        assert not other.done()
        apps.go.set()
        await asyncio.gather(other, apps.begin("a", "afterwards"))

    async def remove(apps: Apps) -> None:
        async with apps.turns.removal("a"):
            apps.log.append("removed again")

    asyncio.run(test())


def test_a_request_that_is_cancelled_without_a_removal_raises_cancelled_error() -> None:
    async def test() -> None:
        apps = Apps()
        task = apps.begin("a", "first")
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        apps.go.set()
        await apps.request("a", "second")

    asyncio.run(test())
