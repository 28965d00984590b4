"""One request per app at a time, and a removal before all of them."""

from __future__ import annotations

import asyncio

import pytest

from deployd.apps.turns import Turns
from deployd.errors import Refused


class Apps:
    def __init__(self) -> None:
        self.turns = Turns()
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


def test_one_at_a_time_but_of_one_app_only() -> None:
    async def test() -> None:
        apps = Apps()
        tasks = [apps.begin("a", "first"), apps.begin("a", "second"), apps.begin("b", "other")]
        await settle()
        assert apps.log == ["first begins", "other begins"]
        apps.go.set()
        await asyncio.gather(*tasks)
        assert apps.log[-2:] == ["second begins", "second ends"]

    asyncio.run(test())


def test_a_removal_waits_for_nobody() -> None:
    async def test() -> None:
        apps = Apps()
        hung, queued, other = apps.begin("a", "hung"), apps.begin("a", "queued"), apps.begin("b", "other")
        await settle()
        async with asyncio.timeout(5), apps.turns.removal("a"):
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


def test_a_request_that_is_cancelled_otherwise_is_just_that() -> None:
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
