"""Work for unprivileged callers is limited, and work for root never waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from deployd.apps import quota
from deployd.apps.caller import Caller
from deployd.apps.quota import MOST_WAITING, Quota
from deployd.bus import BusError

ROOT, ALICE, BOB = Caller(":1.1", 0), Caller(":1.2", 1000), Caller(":1.3", 1001)


class Hanging:
    """Work that ends once `proceed` is set. Counts how often it was begun, and how often at a time."""

    def __init__(self) -> None:
        self.proceed = asyncio.Event()
        self.begun = self.most = self._now = 0

    async def __call__(self) -> str:
        self.begun, self._now = self.begun + 1, self._now + 1
        self.most = max(self.most, self._now)
        await self.proceed.wait()
        self._now -= 1
        return "done"


async def at_once() -> str:
    return "at once"


def run(work: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(20):
            await work

    asyncio.run(within())


async def begun(work: Hanging, count: int) -> None:
    while work.begun < count:
        await asyncio.sleep(0)


def test_one_user_has_one_turn_and_a_short_queue() -> None:
    async def test() -> None:
        limit, work = Quota(at_once=4, pause=0), Hanging()
        asked = [asyncio.ensure_future(limit.run(ALICE, work)) for _ in range(MOST_WAITING + 3)]
        await begun(work, 1)
        refused = [item.exception() for item in asked if item.done()]
        assert len(refused) == 3
        assert all(isinstance(item, BusError) and item.name.endswith("LimitsExceeded") for item in refused)
        work.proceed.set()
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert done.count("done") == MOST_WAITING
        assert work.most == 1

    run(test())


def test_work_of_all_users_is_limited_and_never_delays_root() -> None:
    async def test() -> None:
        limit, work = Quota(at_once=2, pause=0), Hanging()
        asked = [asyncio.ensure_future(limit.run(Caller(":1.9", uid), work)) for uid in range(1, 6)]
        await begun(work, 2)
        assert await asyncio.gather(*(limit.run(ROOT, at_once) for _ in range(20))) == ["at once"] * 20
        assert work.begun == 2
        work.proceed.set()
        assert await asyncio.gather(*asked) == ["done"] * 5
        assert work.most == 2

    run(test())


def test_a_caller_that_disconnects_gets_no_second_turn() -> None:
    async def test() -> None:
        limit, work = Quota(at_once=4, pause=0), Hanging()
        first = asyncio.ensure_future(limit.run(ALICE, work))
        await begun(work, 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.ensure_future(limit.run(ALICE, work))
        assert await limit.run(BOB, at_once) == "at once"
        assert work.begun == 1
        work.proceed.set()
        assert await second == "done"
        assert work.most == 1

    run(test())


def test_the_time_that_a_caller_waits_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(quota, "LONGEST_WORK", 0.05)
        monkeypatch.setattr(quota, "LONGEST_WAIT", 0.05)
        limit, work = Quota(at_once=4, pause=0), Hanging()
        for _ in range(2):  # the first hangs, the second waits for it
            with pytest.raises(BusError, match="try again later"):
                await limit.run(ALICE, work)
        assert work.begun == 1
        work.proceed.set()

    run(test())


def test_work_is_followed_by_a_pause_in_proportion() -> None:
    async def test() -> None:
        limit, clock = Quota(at_once=1, pause=4), asyncio.get_running_loop().time
        took = []
        for _ in range(2):
            began = clock()
            await limit.run(ALICE, lambda: asyncio.sleep(0.05))
            took.append(clock() - began)
        assert took[1] > 4 * 0.05
        assert await limit.run(BOB, at_once) == "at once"

    run(test())


def test_an_error_of_the_work_is_raised() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    async def test() -> None:
        limit = Quota(at_once=1, pause=0)
        for caller in (ROOT, ALICE):
            with pytest.raises(ValueError, match="broken"):
                await limit.run(caller, broken)
        assert limit._users == {}

    run(test())
