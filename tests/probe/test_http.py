"""The HTTP probe against correct and faulty servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployd.model.gate import Answer
from deployd.probe import ask
from deployd.probe.http import LONGEST_HEAD

Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
LONG = 60.0
"""Seconds: longer than any probe in these tests takes."""


@asynccontextmanager
async def server(path: Path, handle: Handler) -> AsyncIterator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_unix_server(connected, str(path)):
        yield str(path)


def answer(tmp_path: Path, data: bytes, expect: int = 200, timeout: float = LONG, stay: bool = False) -> str:
    """Probe a server that sends `data` and then closes the connection or, with `stay`, keeps it open."""
    return asyncio.run(_answer(tmp_path / "sock", data, expect, timeout, stay))


async def _answer(path: Path, data: bytes, expect: int, timeout: float, stay: bool) -> str:
    async def handle(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if stay:
            await reader.read()

    async with server(path, handle) as address:
        return (await ask(address, "web", "/_status", expect, timeout)).problem


def test_the_query_is_sent_but_never_reported(tmp_path: Path) -> None:
    async def handle(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"/_status?token=secret" in head
        writer.write(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")

    async def main() -> str:
        async with server(tmp_path / "sock", handle) as address:
            return (await ask(address, "web", "/_status?token=secret", 200, LONG)).problem

    assert asyncio.run(main()) == "GET /_status answered 503 instead of 200"


def test_the_request(tmp_path: Path) -> None:
    seen = []

    async def handle(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(head)
        writer.write(OK)

    async def main() -> str:
        async with server(tmp_path / "sock", handle) as address:
            return (await ask(address, "web", "/_status?a=%20", 200, LONG)).problem

    assert asyncio.run(main()) == ""
    first, *fields = seen[0].decode().split("\r\n")
    assert first == "GET /_status?a=%20 HTTP/1.1"
    assert {"Host: web", "Connection: close"} <= set(fields)


@pytest.mark.parametrize(
    ("data", "expect", "said"),
    [
        (OK, 200, ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", 204, ""),
        (b"HTTP/1.1 200\n\n", 200, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\nX: " + b"y" * 10_000 + b"\r\n\r\n", 200, ""),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, 200, ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 200, "answered 503 instead of 200"),
        (OK, 503, "answered 200 instead of 503"),
        (b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n", 200, "answered 302 instead of 200"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 200, "answered 101 instead of 200"),
        (b"", 200, "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-", 200, "closed the connection in the middle of its answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 200, "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 200, "was answered with something that is not HTTP"),
        (b"HTTP/2 200\r\n\r\n", 200, "was answered with something that is not HTTP"),
        (b"HTTP/1.1 two OK\r\n\r\n", 200, "was answered with something that is not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", 200, "was answered with something that is not HTTP"),
        (b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n", 200, "was answered with something that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 3 * LONGEST_HEAD, 200, "answered with a head of more than 64 KiB"),
    ],
)
def test_answers(tmp_path: Path, data: bytes, expect: int, said: str) -> None:
    assert answer(tmp_path, data, expect) == (said and f"GET /_status {said}")


@pytest.mark.parametrize(
    ("head", "wrong"),
    [
        (b"500 Internal Server Error", True),
        (b"404 Not Found", True),
        (b"302 Found\r\nLocation: /other", True),
        (b"500 Starting\r\nRetry-After: 5", False),
        (b"502 Bad Gateway", False),
        (b"503 Service Unavailable", False),
        (b"504 Gateway Timeout", False),
        (b"429 Too Many Requests", False),
    ],
)
def test_which_answers_are_definite(tmp_path: Path, head: bytes, wrong: bool) -> None:
    async def handle(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n")

    async def main() -> Answer:
        async with server(tmp_path / "sock", handle) as address:
            return await ask(address, "web", "/", 200, LONG)

    status = head[:3].decode()
    assert asyncio.run(main()) == Answer(f"GET / answered {status} instead of 200", wrong)


@pytest.mark.parametrize("data", [OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx"])
def test_a_server_may_keep_the_connection_open(tmp_path: Path, data: bytes) -> None:
    assert answer(tmp_path, data, stay=True) == ""


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_no_answer_in_time(tmp_path: Path, data: bytes) -> None:
    assert answer(tmp_path, data, timeout=0.1, stay=True) == "GET /_status did not answer within 0.1 s"


def test_a_connection_that_is_reset(tmp_path: Path) -> None:
    async def handle(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def main() -> str:
        async with server(tmp_path / "sock", handle) as address:
            return (await ask(address, "web", "/", 200, LONG)).problem

    assert asyncio.run(main()) == "GET / closed the connection without an answer"


def test_a_socket_on_which_no_process_accepts(tmp_path: Path) -> None:
    """Connecting works, because systemd listens."""
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        said = asyncio.run(ask(str(path), "web", "/", 200, 0.05)).problem
    assert said == (
        "GET / was not read within 0.05 s: does the server accept connections on the socket named"
        ' "probe" in LISTEN_FDNAMES?'
    )


@pytest.mark.parametrize("there", [False, True])
def test_a_socket_that_is_not_open(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "sock"
    if there:
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(str(path))
    said = asyncio.run(ask(str(path), "web", "/", 200, LONG)).problem
    why = "Connection refused" if there else "No such file or directory"
    assert said == f"GET / could not be sent: nothing listens on {path} ({why})"


@pytest.mark.parametrize("listens", [True, False])
def test_a_probe_over_tcp_uses_the_socket_that_it_is_given(listens: bool) -> None:
    """An end of the loopback connection, which only that socket can have."""
    sources: list[object] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sources.append(writer.get_extra_info("peername"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        writer.close()

    async def main() -> tuple[str, object, int]:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if not listens:
            server.close()
            await server.wait_closed()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as made:
            made.bind(("127.0.0.1", 0))
            source = made.getsockname()
            said = (await ask((made, ("127.0.0.1", port)), "web", "/", 200, LONG)).problem
        server.close()
        return said, source, port

    said, source, port = asyncio.run(main())
    if listens:
        assert (said, sources) == ("", [source])
    else:
        assert said == f"GET / could not be sent: nothing listens on 127.0.0.1, port {port} (Connection refused)"


def test_a_probe_can_be_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def handle(_head: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            asked.set()
            await reader.read()

        async with server(tmp_path / "sock", handle) as address:
            task = asyncio.create_task(ask(address, "web", "/", 200, LONG))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
