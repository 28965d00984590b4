"""Who is behind a call decides whether it is answered now; each call that waits for an answer gets one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from deployd.bus.admission import BURST, REFUSALS
from deployd.bus.callers import Call, Callers
from deployd.bus.wire import CALL, Fields, Header
from tests.on_bus import run

NOBODY = 65534


def call(sender: str, serial: int) -> Call:
    fields = Fields(path="/", member="Describe", sender=sender)
    return Call(Header("<", CALL, 0, serial, 0, fields), b"")


def test_calls_whose_user_cannot_be_found_are_refused() -> None:
    """The bus may be late, or made to fail; a caller that waits must not wait for ever."""

    async def work() -> None:
        refused: list[tuple[int, str]] = []
        answered = asyncio.Event()

        def identify(sender: str, told: Callable[[int | None], None]) -> None:
            asyncio.get_running_loop().call_soon(told, None)

        async def answer(call: Call) -> None:
            raise AssertionError(call)

        def refuse(header: Header, why: str) -> None:
            refused.append((header.serial, why))
            if len(refused) == 2:
                answered.set()

        callers = Callers(identify, answer, refuse)
        for serial in (1, 2):
            callers.offer(call(":1.7", serial))
        async with asyncio.timeout(5):
            await answered.wait()
        assert [serial for serial, _ in refused] == [1, 2]
        assert all("does not tell whose call it is" in why for _, why in refused)

    run(work())


def test_a_flood_of_one_user_is_refused_and_root_is_answered() -> None:
    async def work() -> None:
        answered: list[int] = []
        refused: list[int] = []
        users = {":1.7": NOBODY, ":1.8": NOBODY, ":1.9": 0}

        async def answer(call: Call) -> None:
            answered.append(call.header.serial)
            await asyncio.sleep(0)

        callers = Callers(
            lambda sender, told: told(users[sender]), answer, lambda header, why: refused.append(header.serial)
        )
        for serial in range(1, 2001):
            flood = call(":1.7" if serial % 2 else ":1.8", serial)
            if callers.wants(flood.header):
                callers.offer(flood)
        callers.offer(call(":1.9", 9999))
        for _ in range(200):
            await asyncio.sleep(0)
        assert 9999 in answered
        assert len(answered) <= BURST + 2
        assert len(refused) == REFUSALS, "both connections count together"

    run(work())


def test_who_the_bus_does_not_tell_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        refused = asyncio.Event()

        async def answer(call: Call) -> None:
            raise AssertionError(call)

        callers = Callers(lambda sender, told: None, answer, lambda header, why: refused.set())
        callers.offer(call(":1.7", 1))
        async with asyncio.timeout(5):
            await refused.wait()

    monkeypatch.setattr("deployd.bus.callers.LONGEST_LOOKUP", 0.01)
    run(work())
