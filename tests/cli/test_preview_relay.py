"""The relay of a preview: data in both directions and its ends, and what it does if the daemon does not answer."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployd.api import Client
from deployd.errors import InvalidRequest, Refused, Unreachable
from deployd_cli.preview_relay import TRIES, Relay
from tests.on_bus import run

TIMEOUT = 10.0
Answer = Callable[[dict[str, int]], Awaitable[dict[str, str]]]


class FakeBus:
    def __init__(self) -> None:
        self.disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FakeClient(Client):
    """Answers as the test prescribes."""

    def __init__(self, answer: Answer) -> None:
        self.bus = FakeBus()  # type: ignore[assignment]
        self.calls = 0
        self._answer = answer

    async def connect_preview(self, app: str, sockets: dict[str, int], **_: object) -> dict[str, str]:  # type: ignore[override]
        assert app == "shop"
        self.calls += 1
        return await self._answer(sockets)


@dataclass(frozen=True, slots=True)
class Passed:
    """A listening socket, passed as systemd does."""

    path: str
    descriptor: int


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Passed:
    path = str(tmp_path / "shop.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "1")
        return Passed(path, listener.detach())


@asynccontextmanager
async def shouting() -> AsyncIterator[Answer]:
    """Run a server that answers in capitals at the end of each request; what connects to it is the answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()

    async def connect(sockets: dict[str, int]) -> dict[str, str]:
        with socket.socket(fileno=os.dup(sockets["ipv4"])) as ours:
            await asyncio.get_running_loop().sock_connect(ours, target)
        return {"family": "ipv4"}

    async with server:
        yield connect


async def ask(path: str, text: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(text)
    writer.write_eof()
    async with asyncio.timeout(TIMEOUT):
        answer = await reader.read()
    writer.close()
    return answer


@asynccontextmanager
async def relay(client: FakeClient, passed: Passed) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(Relay(client, "shop", passed.descriptor).run())
    yield task
    client.bus.disconnected.set_result(None)
    with pytest.raises(Unreachable):
        await task


def test_data_goes_both_ways_to_the_end(passed: Passed) -> None:
    async def test() -> None:
        async with shouting() as answer, relay(client := FakeClient(answer), passed):
            long = b"x" * 3_000_000
            assert await asyncio.gather(*(ask(passed.path, text) for text in (b"one", b"two", long))) == [
                b"ONE",
                b"TWO",
                long.upper(),
            ]
            assert client.calls == 3

    run(test())


def test_a_connection_is_closed_if_the_daemon_refuses_it(passed: Passed, capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(_: dict[str, int]) -> dict[str, str]:
        raise Refused("shop has no preview")

    async def test() -> None:
        async with relay(FakeClient(refuse), passed):
            assert await ask(passed.path, b"") == b""

    run(test())
    assert capsys.readouterr().err == "shop: shop has no preview\n"


def test_a_daemon_that_is_started_again_is_asked_again(passed: Passed) -> None:
    async def test() -> None:
        async with shouting() as answer:

            async def late(sockets: dict[str, int]) -> dict[str, str]:
                if client.calls < TRIES:
                    raise Unreachable("deployd did not answer")
                return await answer(sockets)

            async with relay(client := FakeClient(late), passed):
                assert await ask(passed.path, b"one") == b"ONE"
            assert client.calls == TRIES

    run(test())


def test_it_needs_the_socket_of_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)

    async def test() -> None:
        async def never(_: dict[str, int]) -> dict[str, str]:
            raise AssertionError

        with pytest.raises(InvalidRequest, match=r"shop:preview\.service"):
            await Relay(FakeClient(never), "shop").run()

    run(test())
