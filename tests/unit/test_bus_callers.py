"""Who is behind a call decides whether it is answered now; each call that waits for an answer gets one."""

from __future__ import annotations

import asyncio

from deployd.bus.callers import Call, Callers
from deployd.bus.messages import BusError, Credentials
from deployd.bus.wire import CALL, Fields, Header
from tests.on_bus import run


def call(sender: str, serial: int) -> Call:
    fields = Fields(path="/", member="Describe", sender=sender)
    return Call(Header("<", CALL, 0, serial, 0, fields), b"")


def test_calls_whose_user_cannot_be_found_are_refused() -> None:
    """The bus may be late, or made to fail; a caller that waits must not wait for ever."""

    async def work() -> None:
        refused: list[tuple[int, str]] = []
        answered = asyncio.Event()

        async def identify(sender: str) -> Credentials:
            raise BusError("org.freedesktop.DBus.Error.NoReply", "no reply within 10 s")

        async def answer(call: Call) -> None:
            raise AssertionError(call)

        def refuse(header: Header, why: str) -> None:
            refused.append((header.serial, why))
            if len(refused) == 2:
                answered.set()

        callers = Callers(lambda _: None, identify, answer, refuse)
        for serial in (1, 2):
            callers.offer(call(":1.7", serial))
        async with asyncio.timeout(5):
            await answered.wait()
        assert [serial for serial, _ in refused] == [1, 2]
        assert all("no reply within 10 s" in why for _, why in refused)

    run(work())
