"""Forged, odd and oversized messages, on a real dbus-daemon that lets every client send anything."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from deployd.bus import DBUS, MOST_CALLS, Bus, BusError, MethodCall, Reply, Signal
from deployd.bus.bodies import MOST_BYTES, MOST_TEXT, read
from deployd.bus.callers import MOST_BODY
from deployd.bus.reader import reader
from deployd.errors import Busy
from tests.attacks import raw
from tests.bus.private_bus import connections, run
from tests.cli.fake_daemon import private_bus

NAME, PATH, INTERFACE = "org.example.Server", "/org/example", "org.example.Interface"
HAPPENED: dict[str, Any] = {"interface": INTERFACE, "member": "Happened", "signature": "s"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


@contextlib.asynccontextmanager
async def attacker(address: str) -> AsyncIterator[raw.Raw]:
    made = await asyncio.to_thread(raw.Raw, address.partition("path=")[2].partition(",")[0])
    try:
        yield made
    finally:
        made.close()


async def in_sync(bus: Bus) -> None:
    """Wait until everything that the bus has sent so far has been read."""
    await bus.call(*DBUS, "GetId")


# ---- signals


def test_signals_are_accepted_from_the_owner_of_a_name_only(address: str) -> None:
    async def work() -> None:
        async with connections(address, 3) as (owner, stranger, receiver), attacker(address) as liar:
            await owner.request_name(NAME)
            heard: list[Signal] = []
            await receiver.subscribe(NAME, heard.append, **HAPPENED)
            # A signal addressed to one connection needs no match rule.
            await receiver.call(*DBUS, "AddMatch", "s", ["type='signal'"])
            stranger.emit(PATH, INTERFACE, "Happened", "s", ["a lie"])
            await in_sync(stranger)
            liar.send(raw.signal(receiver.name, PATH, INTERFACE, "Happened", "s", raw.string("another")))
            await asyncio.to_thread(liar.names)
            owner.emit(PATH, INTERFACE, "Happened", "s", ["true"])
            owner.emit(PATH, INTERFACE, "Happened", "u", [7])
            await in_sync(owner)
            await in_sync(receiver)
            assert [(signal.sender, signal.body) for signal in heard] == [(owner.name, ["true"])]

    run(work())


def test_signals_of_a_former_owner_are_dropped(address: str) -> None:
    async def work() -> None:
        async with connections(address, 3) as (first, second, receiver):
            heard: list[Signal] = []
            owners: list[str] = []
            await receiver.follow(NAME, owners.append)
            await receiver.subscribe(NAME, heard.append, **HAPPENED)
            assert receiver.owner(NAME) == ""
            first.emit(PATH, INTERFACE, "Happened", "s", ["too early"])
            await first.request_name(NAME)
            first.emit(PATH, INTERFACE, "Happened", "s", ["first"])
            await first.call(*DBUS, "ReleaseName", "s", [NAME])
            first.emit(PATH, INTERFACE, "Happened", "s", ["too late"])
            await in_sync(first)
            await second.request_name(NAME)
            second.emit(PATH, INTERFACE, "Happened", "s", ["second"])
            await in_sync(second)
            await in_sync(receiver)
            assert [signal.body[0] for signal in heard] == ["first", "second"]
            assert owners == [first.name, "", second.name]
            assert receiver.owner(NAME) == second.name

    run(work())


def test_changes_of_owners_are_accepted_from_the_bus_only(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (owner, receiver), attacker(address) as liar:
            await owner.request_name(NAME)
            owners: list[str] = []
            await receiver.follow(NAME, owners.append)
            await receiver.subscribe(NAME, lambda signal: None, **HAPPENED)
            lie = raw.strings(NAME, owner.name, liar.name)
            for sender in ([], [(raw.SENDER, "s", DBUS[0])]):
                fields: list[raw.Field] = [(raw.PATH, "o", DBUS[1]), (raw.INTERFACE, "s", DBUS[2])]
                fields += [(raw.MEMBER, "s", "NameOwnerChanged"), (raw.SIGNATURE, "g", "sss")]
                liar.send(raw.message(raw.SIGNAL, 1, [*fields, (raw.DESTINATION, "s", receiver.name), *sender], lie))
            await asyncio.to_thread(liar.names)
            await in_sync(receiver)
            assert owners == []
            assert receiver.owner(NAME) == owner.name

    run(work())


def test_a_handler_that_fails_does_not_affect_the_others(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with connections(address, 2) as (owner, receiver):
            await owner.request_name(NAME)
            heard: asyncio.Queue[Signal] = asyncio.Queue()
            await receiver.subscribe(NAME, lambda signal: signal.body[7], **HAPPENED)
            await receiver.subscribe(NAME, heard.put_nowait, **HAPPENED)
            owner.emit(PATH, INTERFACE, "Happened", "s", ["x"])
            assert (await heard.get()).body == ["x"]

    run(work())
    assert "could not be handled" in caplog.text


# ---- replies


def test_a_reply_is_accepted_from_the_called_connection_only(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client), attacker(address) as liar:
            asked = asyncio.Event()
            go = asyncio.Event()

            async def slow(call: MethodCall) -> Reply:
                asked.set()
                await go.wait()
                return "s", ["true"]

            server.serve(slow)
            await server.request_name(NAME)
            reply = asyncio.ensure_future(client.call(NAME, PATH, INTERFACE, "Ask"))
            await asked.wait()
            for serial in range(1, 60):
                fields: list[raw.Field] = [(raw.REPLY_SERIAL, "u", serial), (raw.DESTINATION, "s", client.name)]
                liar.send(raw.message(raw.RETURN, serial, [*fields, (raw.SIGNATURE, "g", "s")], raw.string("a lie")))
            await asyncio.to_thread(liar.names)
            await in_sync(client)
            assert not reply.done()
            go.set()
            assert await reply == ["true"]

    run(work())


def test_a_silent_destination_uses_no_slots_of_another(address: str) -> None:
    async def work() -> None:
        async with connections(address, 3) as (silent, server, client):

            async def never(call: MethodCall) -> Reply:
                await asyncio.Event().wait()
                return "", []

            async def echo(call: MethodCall) -> Reply:
                return call.signature, call.body

            silent.serve(never)
            server.serve(echo)
            await silent.request_name("org.example.Silent")
            await server.request_name(NAME)
            called = [
                asyncio.ensure_future(client.call("org.example.Silent", PATH, INTERFACE, "Ask", timeout=600))
                for _ in range(2 * MOST_CALLS)
            ]
            assert await client.call(NAME, PATH, INTERFACE, "Echo", "s", ["x"]) == ["x"]
            with pytest.raises(BusError, match="not sent within") as raised:
                await client.call("org.example.Silent", PATH, INTERFACE, "Ask", timeout=0.05)
            assert raised.value.name == "org.freedesktop.DBus.Error.NoReply"
            await silent.close()
            for call in called:
                with pytest.raises(BusError):
                    await call

    run(work())


# ---- replies and signals that are sent


AWKWARD: dict[str, Reply | Exception] = {
    "Nul": ("s", ["a\0b"]),
    "NulInside": ("a{sv}", [{"key": ("as", ["a\0b"])}]),
    "Surrogate": ("s", ["\udcff"]),
    "WrongType": ("u", ["text"]),
    "TooFew": ("ss", ["one"]),
    "NoSignature": ("", ["one"]),
    "BadSignature": ("a{", ["one"]),
    "BadPath": ("o", ["not a path"]),
    "BadVariant": ("v", ["no variant"]),
    "TooBig": ("u", [1 << 40]),
    "TooLong": ("s", ["x" * MOST_BYTES]),
    "NoReply": None,  # type: ignore[dict-item]
    "Raises": Busy("a\0b\x1b[31m \udcff \u202e"),
    "RaisesLong": Busy("x" * 40_000_000),
    "RaisesOdd": BusError("not an error name", "x"),
    "RaisesNewline": BusError("org.example.Odd\n", "x"),
    "RaisesBug": ZeroDivisionError("\0" * 100_000),
}


def test_no_reply_ends_the_connection(address: str) -> None:
    async def work() -> None:
        async def serve(call: MethodCall) -> Reply:
            answer = AWKWARD.get(call.member, ("s", ["good"]))
            if isinstance(answer, Exception):
                raise answer
            return answer

        async with connections(address, 2) as (server, client):
            server.serve(serve)
            await server.request_name(NAME)
            for member in AWKWARD:
                with pytest.raises(BusError) as raised:
                    await client.call(NAME, PATH, INTERFACE, member)
                assert raised.value.message, member
                assert len(raised.value.message) <= 8 * MOST_TEXT, member
                assert all(char.isprintable() for char in raised.value.message), member
                assert await client.call(NAME, PATH, INTERFACE, "Good") == ["good"]
            assert not server.disconnected.done()

    run(work())


def test_a_signal_that_cannot_be_sent_is_logged(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with connections(address, 2) as (owner, receiver):
            await owner.request_name(NAME)
            heard: asyncio.Queue[Signal] = asyncio.Queue()
            await receiver.subscribe(NAME, heard.put_nowait, **HAPPENED)
            for body in (["a\0b"], ["\udcff"], [7], ["x" * MOST_BYTES], []):
                owner.emit(PATH, INTERFACE, "Happened", "s", body)
            for path, interface in (("no path", INTERFACE), (f"{PATH}\n", INTERFACE), (PATH, f"{INTERFACE}\n")):
                owner.emit(path, interface, "Happened", "s", ["x"])
            owner.emit(PATH, INTERFACE, "Happened", "s", ["good"])
            assert (await heard.get()).body == ["good"]

    with caplog.at_level(logging.ERROR):
        run(work())
    assert caplog.text.count("was not sent") == 8


def test_a_call_that_cannot_be_sent_raises(address: str) -> None:
    async def work() -> None:
        async with connections(address, 1) as (client,):
            for body in (["a\0b"], ["\udcff"], [7], ["x" * MOST_BYTES]):
                with pytest.raises(BusError, match="was not called"):
                    await client.call(*DBUS, "GetNameOwner", "s", body)
            assert await client.call(*DBUS, "NameHasOwner", "s", [DBUS[0]]) == [True]

    run(work())


# ---- calls


async def echo(call: MethodCall) -> Reply:
    return "s", [repr(call.body)]


def served_and_attacked(address: str, attack: Any) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client), attacker(address) as liar:
            server.serve(echo)
            await server.request_name(NAME)
            await attack(liar, server)
            assert await client.call(NAME, PATH, INTERFACE, "Echo", "s", ["x"]) == ["['x']"]
            assert not server.disconnected.done()

    run(work())


async def error_of(liar: raw.Raw, data: bytes, serial: int) -> bytes:
    liar.send(data)
    return await asyncio.to_thread(liar.reply, serial)


def test_long_calls_are_refused_without_reading_them(address: str) -> None:
    async def attack(liar: raw.Raw, server: Bus) -> None:
        body = raw.string("x" * 20_000_000)
        said = await error_of(liar, raw.call(9, NAME, PATH, INTERFACE, "Echo", "s", body), 9)
        assert b"LimitsExceeded" in said
        assert f"at most {MOST_BODY} bytes".encode() in said

    served_and_attacked(address, attack)


def variants(depth: int) -> bytes:
    return b"\1v\0" * (depth - 1) + b"\1y\0\7"


def test_odd_messages_are_survived(address: str) -> None:
    async def attack(liar: raw.Raw, server: Bus) -> None:
        to: list[raw.Field] = [(raw.PATH, "o", PATH), (raw.MEMBER, "s", "Echo"), (raw.DESTINATION, "s", NAME)]
        for number, data in enumerate(
            (
                raw.message(raw.CALL, 10, [*to, (raw.SIGNATURE, "g", "v")], variants(60)),
                raw.message(raw.CALL, 11, [*to, (raw.SIGNATURE, "g", "a" * 31 + "y")], struct.pack("<I", 0)),
                raw.message(raw.CALL, 12, [*to, (raw.SIGNATURE, "g", "(" * 31 + "y" + ")" * 31)], b"\7"),
                raw.message(raw.CALL, 13, to, flags=0xF8),
                raw.message(raw.CALL, 14, [(99, "s", "novel"), *to]),
                raw.message(raw.CALL, 15, [*to, (raw.REPLY_SERIAL, "u", 3)]),
                raw.message(raw.CALL, 16, [*to, (raw.SIGNATURE, "g", "y" * 255)], b"\7" * 255),
            ),
            start=10,
        ):
            assert await error_of(liar, data, number)
        liar.send(raw.message(7, 17, to))  # an unknown message type
        liar.send(raw.message(raw.ERROR, 18, [*to, (raw.ERROR_NAME, "s", "a.b"), (raw.REPLY_SERIAL, "u", 99)]))
        assert await asyncio.to_thread(liar.names)

    served_and_attacked(address, attack)


def test_the_cache_of_signatures_is_bounded() -> None:
    for kinds in itertools.product("ybnqiuxtd", repeat=4):
        assert read("<", f"({''.join(kinds)})", bytes(64))
    assert reader.cache_info().currsize == reader.cache_info().maxsize


def test_few_calls_are_queued_while_their_sender_is_being_looked_up(address: str) -> None:
    async def attack(liar: raw.Raw, server: Bus) -> None:
        one = raw.call(9, NAME, PATH, INTERFACE, "Echo", "s", raw.string("x" * 10_000))
        liar.send(one * 20)
        await asyncio.to_thread(liar.names)

    served_and_attacked(address, attack)
