"""One question over HTTP on a UNIX socket. Knows nothing of apps, units or systemd.

HTTP/1.1 with ``Connection: close``, one connection for each question: what answers is who holds the socket now.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import re
import struct
import termios

LONGEST_HEAD = 64 * 1024
"""Bytes; a server whose head is longer has gone astray."""
LONGEST_BODY = 64 * 1024
"""Bytes of a body that are taken off the server's hands."""
PATIENCE = 0.1
"""Seconds for that: a server that keeps the connection open does not hold us up."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[0-9] 1(?!01)[0-9][0-9]")
"""100 Continue, 103 Early Hints: the answer is still to come."""


class _Head:
    """What http.client reads from, in place of a socket: a response's head, already here."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._file


async def ask(socket: str, host: str, path: str, expect: int, timeout: float) -> str:
    """``GET path`` at the UNIX socket `socket`: "" if the status is `expect`, else a sentence about what happened.

    Never raises but when cancelled; `timeout` in seconds is for all of it.
    """
    problem = await _ask(socket, host, path, expect, timeout)
    # Everyone hears of it, and a token in the query is not for everyone.
    return f"GET {path.partition('?')[0]} {problem}" if problem else ""


async def _ask(socket: str, host: str, path: str, expect: int, timeout: float) -> str:
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(socket)
            # What cannot stand in a request line is refused when the app file is read.
            lines = (f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: deployd", "Accept: */*", "Connection: close")
            writer.write("\r\n".join((*lines, "", "")).encode("ascii"))
            problem, left = await _head(reader, expect)
    except TimeoutError:
        if writer is not None and _unread(writer):
            return (
                f"was not even read within {timeout:g} s: does the server accept connections on the socket that"
                ' LISTEN_FDNAMES calls "probe"?'
            )
        return f"did not answer within {timeout:g} s"
    except OSError as error:
        if writer is None:
            return f"could not be asked: nothing listens on {socket} ({error.strerror or error})"
        return "closed the connection without an answer"
    else:
        await _drain(reader, left)
        return problem
    finally:
        if writer is not None:
            # Not close(): what the server has not read yet is of no use to it any more.
            writer.transport.abort()


async def _head(reader: asyncio.StreamReader, expect: int) -> tuple[str, int]:
    """What is wrong with the answer, and how many bytes of its body are still to come, at the most."""
    # Not sooner: with what it brings along (email, ssl) it is 3 MB that apps without such a probe need not pay.
    import http.client

    data = b""
    while True:
        end = _END_OF_HEAD.search(data)
        if end is None:
            if len(data) > LONGEST_HEAD:
                return f"answered with a head of more than {LONGEST_HEAD // 1024} KiB", 0
            more = await reader.read(LONGEST_HEAD)
            if not more:
                return "closed the connection " + ("in the middle of its answer" if data else "without an answer"), 0
            data += more
        elif _INTERIM.match(data):
            data = data[end.end() :]
        else:
            break
    response = http.client.HTTPResponse(_Head(data[: end.end()]))  # type: ignore[arg-type]
    try:
        response.begin()
    except (http.client.HTTPException, ValueError, OSError):
        return "was answered with something that is not HTTP", 0
    left = LONGEST_BODY if response.length is None else min(response.length, LONGEST_BODY)
    problem = "" if response.status == expect else f"answered {response.status} instead of {expect}"
    return problem, left - (len(data) - end.end())


async def _drain(reader: asyncio.StreamReader, left: int) -> None:
    """Read the body, though nobody wants it: many a server logs an error when it cannot send all of it."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(PATIENCE):
            while left > 0 and (more := await reader.read(left)):
                left -= len(more)


def _unread(writer: asyncio.StreamWriter) -> bool:
    """Is the question still where we put it? A UNIX socket counts what the other side has not read (unix(7))."""
    sock = writer.get_extra_info("socket")
    try:
        size = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError):
        return False
    return bool(struct.unpack("i", size)[0])
