"""The user that a call comes from decides when it is answered; every call that expects a reply gets one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from deployd.bus.admission import BURST, REFUSALS
from deployd.bus.callers import Call, Callers
from deployd.bus.credentials import MOST_KNOWN, KnownCredentials
from deployd.bus.wire import CALL, Fields, Header
from tests.on_bus import run

NOBODY = 65534


def user(uid: int) -> dict[str, Any]:
    """The part of a reply of GetConnectionCredentials that is always there."""
    return {"UnixUserID": uid}


def call(sender: str, serial: int) -> Call:
    fields = Fields(path="/", member="Describe", sender=sender)
    return Call(Header("<", CALL, 0, serial, 0, fields), b"")


def test_calls_are_refused_if_the_bus_does_not_know_their_sender() -> None:
    """The lookup may be slow or fail; the caller must not wait for ever."""

    async def work() -> None:
        refused: list[tuple[int, str]] = []
        answered = asyncio.Event()

        def identify(sender: str, identified: Callable[[], None]) -> None:
            asyncio.get_running_loop().call_soon(identified)

        async def answer(call: Call) -> None:
            raise AssertionError(call)

        def refuse(header: Header, why: str) -> None:
            refused.append((header.serial, why))
            if len(refused) == 2:
                answered.set()

        callers = Callers(KnownCredentials(), identify, answer, refuse)
        for serial in (1, 2):
            callers.offer(call(":1.7", serial))
        async with asyncio.timeout(30):
            await answered.wait()
        assert [serial for serial, _ in refused] == [1, 2]
        assert all("does not report the caller's credentials" in why for _, why in refused)

    run(work())


def test_the_flood_of_one_user_is_refused_while_root_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still, because the limits grow with time."""

    async def work() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 0.0)
        answered: list[int] = []
        refused: list[int] = []
        users = {":1.7": NOBODY, ":1.8": NOBODY, ":1.9": 0}
        known = KnownCredentials()

        def identify(sender: str, identified: Callable[[], None]) -> None:
            known.add(sender, user(users[sender]))
            identified()

        async def answer(call: Call) -> None:
            answered.append(call.header.serial)
            await asyncio.sleep(0)

        callers = Callers(known, identify, answer, lambda header, why: refused.append(header.serial))
        for serial in range(1, 2001):
            flood = call(":1.7" if serial % 2 else ":1.8", serial)
            if callers.wants(flood.header):
                callers.offer(flood)
        callers.offer(call(":1.9", 9999))
        for _ in range(200):
            await asyncio.sleep(0)
        assert 9999 in answered
        assert len(answered) <= BURST + 2
        assert len(refused) == REFUSALS, "the calls of both connections count together"

    run(work())


def test_calls_are_refused_if_the_lookup_of_their_sender_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        refused = asyncio.Event()

        async def answer(call: Call) -> None:
            raise AssertionError(call)

        callers = Callers(
            KnownCredentials(), lambda sender, identified: None, answer, lambda header, why: refused.set()
        )
        callers.offer(call(":1.7", 1))
        async with asyncio.timeout(30):
            await refused.wait()

    monkeypatch.setattr("deployd.bus.callers.LONGEST_LOOKUP", 0.01)
    run(work())


def test_a_caller_with_cached_credentials_is_not_looked_up_again() -> None:
    """The credentials come from one cache, whether a call or Bus.credentials filled it."""

    async def work() -> None:
        answered = asyncio.Event()
        known = KnownCredentials()
        known.add(":1.7", user(NOBODY))

        def identify(sender: str, identified: Callable[[], None]) -> None:
            raise AssertionError(sender)

        async def answer(call: Call) -> None:
            answered.set()

        callers = Callers(known, identify, answer, lambda header, why: pytest.fail(why))
        callers.offer(call(":1.7", 1))
        async with asyncio.timeout(30):
            await answered.wait()

    run(work())


def test_the_oldest_credentials_are_dropped_first() -> None:
    known = KnownCredentials()
    for number in range(MOST_KNOWN + 1):
        known.add(f":1.{number}", user(NOBODY))
    assert known.uid(":1.0") is None
    assert known.uid(":1.1") == known.uid(f":1.{MOST_KNOWN}") == NOBODY
