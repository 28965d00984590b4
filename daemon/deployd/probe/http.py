"""One HTTP request over a UNIX or TCP socket. Knows nothing of apps, units or systemd.

HTTP/1.1 with ``Connection: close`` and a connection for each request, so that the reply comes from the process that
accepts on the socket now.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
import re
import socket
import struct
import termios
from dataclasses import replace

from deployd.model.gate import Answer

LONGEST_HEAD = 64 * 1024
"""Bytes of a response's head; a longer one is a fault of the server."""
LONGEST_BODY = 64 * 1024
"""Bytes of a response's body that are read and dropped."""
PATIENCE = 0.1
"""Seconds for reading the body, so that a server that keeps the connection open does not delay the probe."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[0-9] 1(?!01)[0-9][0-9]")
"""100 Continue, 103 Early Hints: the final response follows."""

_NOT_YET = frozenset({429, 502, 503, 504})
"""Statuses of a server that may answer otherwise soon. So may one that answers with Retry-After."""


class _Head:
    """The head of a response, for http.client in place of a socket."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._file


Target = str | tuple[socket.socket, tuple[str, int]]
"""The path of a UNIX socket, or a TCP socket that does not block, and where it is to be connected."""


async def ask(to: Target, host: str, path: str, expect: int, timeout: float) -> Answer:
    """Send ``GET path`` to a socket, which should be answered with the status `expect`.

    Raises nothing except when cancelled; `timeout` in seconds covers everything.
    """
    answer = await _ask(to, host, path, expect, timeout)
    # The sentence is public, so it must not contain the query, which may contain a token.
    return replace(answer, problem=answer.problem and f"GET {path.partition('?')[0]} {answer.problem}")


async def _ask(to: Target, host: str, path: str, expect: int, timeout: float) -> Answer:
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(to)
            # Paths that a request line does not allow are refused when the app file is read.
            lines = (f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: deployd", "Accept: */*", "Connection: close")
            writer.write("\r\n".join((*lines, "", "")).encode("ascii"))
            answer, left = await _head(reader, expect)
    except TimeoutError:
        if writer is not None and isinstance(to, str) and _unread(writer):
            return Answer(
                f"was not read within {timeout:g} s: does the server accept connections on the socket named"
                ' "probe" in LISTEN_FDNAMES?'
            )
        return Answer(f"did not answer within {timeout:g} s")
    except OSError as error:
        if writer is None:
            where = to if isinstance(to, str) else f"{to[1][0]}, port {to[1][1]}"
            return Answer(
                f"could not be sent: nothing listens on {where} ({os.strerror(error.errno) if error.errno else error})"
            )
        return Answer("closed the connection without an answer")
    else:
        await _drain(reader, left)
        return answer
    finally:
        if writer is not None:
            # Not close(): the server need not read what it has not read yet.
            writer.transport.abort()


async def _connect(to: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(to, str):
        return await asyncio.open_unix_connection(to)
    made, address = to
    await asyncio.get_running_loop().sock_connect(made, address)
    return await asyncio.open_connection(sock=made)


async def _head(reader: asyncio.StreamReader, expect: int) -> tuple[Answer, int]:
    """Return what the response says, and at most how many bytes of its body are still to come."""
    # Imported late, because with its own imports (email, ssl) it takes 3 MB, which apps without such a probe save.
    import http.client

    data = b""
    while True:
        end = _END_OF_HEAD.search(data)
        if end is None:
            if len(data) > LONGEST_HEAD:
                return Answer(f"answered with a head of more than {LONGEST_HEAD // 1024} KiB", wrong=True), 0
            more = await reader.read(LONGEST_HEAD)
            if not more:
                when = "in the middle of its answer" if data else "without an answer"
                return Answer(f"closed the connection {when}"), 0
            data += more
        elif _INTERIM.match(data):
            data = data[end.end() :]
        else:
            break
    response = http.client.HTTPResponse(_Head(data[: end.end()]))  # type: ignore[arg-type]
    try:
        response.begin()
    except (http.client.HTTPException, ValueError, OSError):
        return Answer("was answered with something that is not HTTP", wrong=True), 0
    left = LONGEST_BODY if response.length is None else min(response.length, LONGEST_BODY)
    left -= len(data) - end.end()
    if response.status == expect:
        return Answer(), left
    wrong = response.status not in _NOT_YET and response.getheader("Retry-After") is None
    return Answer(f"answered {response.status} instead of {expect}", wrong), left


async def _drain(reader: asyncio.StreamReader, left: int) -> None:
    """Read and drop the body, because many servers log an error if they cannot send all of it."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(PATIENCE):
            while left > 0 and (more := await reader.read(left)):
                left -= len(more)


def _unread(writer: asyncio.StreamWriter) -> bool:
    """True if the server has not read the request: a UNIX socket counts the bytes not read by its peer (unix(7))."""
    sock = writer.get_extra_info("socket")
    try:
        size = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError):
        return False
    return bool(struct.unpack("i", size)[0])
