"""Requests that last: each kind is sent whole, and each failure has its name."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.load.client import Load
from tests.load.long_requests import UPLOAD
from tests.load.record import Kind, Outcome, Record
from tests.load.server import head, listening

CHECKOUT = Path(__file__).resolve().parents[2]
LONG = {Kind.SLOW, Kind.UPLOAD, Kind.DOWNLOAD}
Answer = Callable[[bytes], bytes]


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """Answer one request on each connection, when its body has arrived."""

    def one(client: socket.socket) -> None:
        first, body = head(client)
        missing = UPLOAD - len(body) if first.startswith(b"POST") else 0
        while missing > 0:
            missing -= len(client.recv(65536))
        client.sendall(answer(first))

    with listening(one) as port:
        yield port


def run(port: int) -> Record:
    argv = [sys.executable, "-m", "tests.load.long_requests", "--port", str(port), "--seconds", "0.3"]
    pipe = subprocess.PIPE
    process = subprocess.Popen([*argv, "--timeout", "5"], cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True)
    with Load(process) as load:
        load.wait_ready()
        load.mark("here")
        while load.progress()["requests"] < 6:
            time.sleep(0.1)
        return load.stop()


def ok(head: bytes) -> bytes:
    body = b"x" * (2_000_000 if b"/download" in head else 2)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ok, Outcome.OK),
        (lambda head: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Outcome.OK),
        (lambda head: b"HTTP/1.1 200 OK\r\n\r\nuntil the end", Outcome.OK),
        (lambda head: ok(head)[:-1], Outcome.SHORT),
        (lambda head: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Outcome.SHORT),
        (lambda head: b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", Outcome.HTTP_ERROR),
        (lambda head: b"", Outcome.EOF),
    ],
)
def test_each_outcome_has_its_name(answer: Answer, outcome: Outcome) -> None:
    with server(answer) as port:
        record = run(port)
    assert set(record.by_outcome()) == {outcome}, record.failed[:3]
    assert {request.kind for request in record.requests} == LONG
    assert [mark.name for mark in record.marks] == ["here"]


def test_a_download_is_read_slowly() -> None:
    with server(ok) as port:
        record = run(port)
    assert min(request.latency for request in record.of_kind(Kind.DOWNLOAD).requests) > 0.2
