"""The D-Bus connection, on a real dbus-daemon: deadlines, error replies, loss of the bus, serving, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployd.bus import DBUS, Bus, BusError, MethodCall, Reply, Signal, variant
from deployd.bus.wire import Header
from deployd.errors import Busy, Unreachable
from tests.bus.private_bus import connections, run
from tests.cli.fake_daemon import CONFIG, private_bus

NAME, PATH, INTERFACE = "org.example.Server", "/org/example", "org.example.Interface"
NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
HAPPENED: dict[str, Any] = {"interface": INTERFACE, "member": "Happened", "signature": "s"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


@contextlib.contextmanager
def mortal_bus(directory: Path) -> Iterator[tuple[str, int]]:
    """Start a dbus-daemon that the test may kill; yield its address and its PID."""
    config = directory / "bus.conf"
    config.write_text(CONFIG.format(directory=directory))
    argv = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.kill()


async def answer(call: MethodCall) -> Reply:
    """Serve one method for each kind of reply."""
    match call.member:
        case "Echo":
            return call.signature, call.body
        case "Number":
            return "u", [call.body[0]["number"]]
        case "Variants":
            return "a{sv}v", [{"number": ("u", 7), "texts": ("as", ["a"])}, variant("(sv)", ["x", variant("b", True)])]
        case "Fail":
            raise Busy("a rollout of demo is under way")
        case "Missing":
            raise BusError("org.freedesktop.DBus.Error.UnknownMethod", "there is no such thing")
        case "Break":
            raise ZeroDivisionError("a bug")
        case "Silent":
            await asyncio.Event().wait()
    return "", []


async def call(client: Bus, member: str, *rest: Any, **options: Any) -> list[Any]:
    return await client.call(NAME, PATH, INTERFACE, member, *rest, **options)


async def served(server: Bus) -> None:
    server.serve(answer)
    await server.request_name(NAME)


def test_a_reply_is_returned_with_its_variants_unwrapped(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client):
            await served(server)
            assert await call(client, "Echo", "sasu", ["x", ["y"], 3]) == ["x", ["y"], 3]
            assert await call(client, "Number", "a{sv}", [{"number": ("u", 3)}]) == [3]
            assert await call(client, "Variants") == [{"number": 7, "texts": ["a"]}, ["x", True]]
            assert await call(client, "Nothing") == []

    run(work())


def test_an_error_reply_is_raised_with_its_name_and_text(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client):
            await served(server)
            for member, name, text in (
                ("Fail", "org.deployd1.Error.Busy", "a rollout of demo is under way"),
                ("Missing", "org.freedesktop.DBus.Error.UnknownMethod", "there is no such thing"),
            ):
                with pytest.raises(BusError) as raised:
                    await call(client, member)
                assert (raised.value.name, raised.value.message) == (name, text)
            with pytest.raises(BusError, match="ServiceUnknown"):
                await client.call("org.example.Nobody", PATH, INTERFACE, "Echo")

    run(work())


def test_a_bug_while_serving_is_logged_and_reported(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client):
            await served(server)
            with pytest.raises(BusError) as raised:
                await call(client, "Break")
            assert raised.value.name == "org.deployd1.Error.Failed"
            assert "internal error" in raised.value.message
            assert await call(client, "Echo", "s", ["still there"]) == ["still there"]

    with caplog.at_level(logging.ERROR):
        run(work())
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


def test_a_call_without_a_reply_ends_at_its_deadline(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client):
            await served(server)
            with pytest.raises(BusError, match=r"no reply within 0\.05 s") as raised:
                await call(client, "Silent", timeout=0.05)
            assert raised.value.name == NO_REPLY
            # The connection is still usable.
            assert await call(client, "Echo", "s", ["x"]) == ["x"]

    run(work())


def test_no_reply_is_sent_if_none_is_expected(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client):
            seen: asyncio.Queue[str] = asyncio.Queue()

            async def note(call: MethodCall) -> Reply:
                seen.put_nowait(call.member)
                return await answer(call)

            server.serve(note)
            await server.request_name(NAME)
            for member in ("Fail", "Break", "Echo"):
                client._calls.ask(None, NAME, (PATH, INTERFACE, member, "", []))
            assert [await seen.get() for _ in range(3)] == ["Fail", "Break", "Echo"]
            replies: list[int] = []

            def wanted(header: Header) -> bool:
                if header.fields.sender == server.name:
                    replies.append(header.fields.reply_serial)
                return client._wants(header)

            client._stream._wanted = wanted
            assert await call(client, "Echo", "s", ["x"]) == ["x"]
            assert len(replies) == 1

    run(work())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_loss_of_the_bus_is_noticed_and_ends_pending_calls(tmp_path: Path, number: signal.Signals) -> None:
    async def work(address: str, pid: int) -> None:
        server, client = await Bus.connect(address), await Bus.connect(address)
        await served(server)
        pending = [asyncio.ensure_future(call(client, "Silent")) for _ in range(3)]
        await call(client, "Echo")
        assert not client.disconnected.done()
        os.kill(pid, number)
        await client.disconnected
        await server.disconnected
        for task in pending:
            with pytest.raises(BusError, match="the connection to the bus was lost") as raised:
                await task
            assert raised.value.name == NO_REPLY
        for _ in range(2):
            with pytest.raises(BusError) as raised:
                await call(client, "Echo")
            assert raised.value.name == NO_REPLY
        with pytest.raises(BusError):
            await client.subscribe(NAME, print, **HAPPENED)
        with pytest.raises(BusError):
            await client.request_name("org.example.Late")
        server.emit(PATH, INTERFACE, "Happened", "s", ["no receiver"])
        await client.close()
        await server.close()

    with mortal_bus(tmp_path) as (address, pid):
        run(work(address, pid))


def test_an_unreachable_bus_is_reported_in_one_sentence(tmp_path: Path) -> None:
    async def work(address: str) -> str:
        with pytest.raises(Unreachable) as raised:
            await Bus.connect(address, timeout=0.1)
        return str(raised.value)

    mute = socket.socket(socket.AF_UNIX)
    mute.bind(str(tmp_path / "mute"))
    mute.listen()
    hangs_up = socket.socket(socket.AF_UNIX)
    hangs_up.bind(str(tmp_path / "closed"))  # not listening
    with mute, hangs_up:
        for name in ("missing", "mute", "closed"):
            said = run(work(f"unix:path={tmp_path}/{name}"))
            assert said.startswith(f"the D-Bus bus at unix:path={tmp_path}/{name} cannot be reached: "), name
            assert not said.endswith(": "), name
    assert run(work("nonsense")).startswith("the D-Bus bus at nonsense cannot be reached: ")


def test_a_bus_that_does_not_speak_dbus_is_unreachable(tmp_path: Path) -> None:
    async def work() -> None:
        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_unix_server(babble, tmp_path / "web")
        async with server:
            with pytest.raises(Unreachable):
                await Bus.connect(f"unix:path={tmp_path}/web", timeout=5)

    run(work())


def test_a_name_has_one_owner(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (first, second):
            await first.request_name("org.example.One")
            await first.request_name("org.example.One")
            with pytest.raises(BusError, match=r"another process owns org\.example\.One"):
                await second.request_name("org.example.One")

    run(work())


def test_a_signal_reaches_every_handler_until_it_is_removed(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (sender, receiver):
            await sender.request_name(NAME)
            first: list[Signal] = []
            second: asyncio.Queue[Signal] = asyncio.Queue()
            remove = await receiver.subscribe(NAME, first.append, **HAPPENED)
            await receiver.subscribe(NAME, second.put_nowait, **HAPPENED)
            sender.emit(PATH, INTERFACE, "Happened", "s", ["x"])
            got = await second.get()
            assert (got.path, got.interface, got.member, got.body) == (PATH, INTERFACE, "Happened", ["x"])
            assert first == [got]
            remove()
            remove()
            sender.emit(PATH, INTERFACE, "Happened", "s", ["again"])
            assert (await second.get()).body == ["again"]
            assert len(first) == 1

    run(work())


async def serve_and_note(server: Bus) -> list[MethodCall]:
    """Answer every call under NAME with nothing; return the list to which the calls are added."""
    seen: list[MethodCall] = []

    async def note(call: MethodCall) -> Reply:
        seen.append(call)
        return "", []

    server.serve(note)
    await server.request_name(NAME)
    return seen


def test_a_call_carries_the_unique_name_that_the_bus_gave_its_sender(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client):
            seen = await serve_and_note(server)
            await call(client, "Anything", "s", ["x"])
            [uid] = await server.call(*DBUS, "GetConnectionUnixUser", "s", [seen[0].sender])
            assert uid == os.getuid()
            assert (seen[0].path, seen[0].interface, seen[0].signature, seen[0].body) == (PATH, INTERFACE, "s", ["x"])

    run(work())


def test_the_bus_returns_the_credentials_of_a_caller(address: str) -> None:
    async def work() -> None:
        async with connections(address, 2) as (server, client):
            seen = await serve_and_note(server)
            await call(client, "Anything")
            await call(client, "Anything", interactive=True)
            assert [item.interactive for item in seen] == [False, True]
            known = await server.credentials(seen[0].sender)
            assert known.uid == os.getuid()
            assert known.groups >= {os.getgid(), *os.getgroups()}
            with pytest.raises(BusError):
                await server.credentials(":1.4000000")

    run(work())
