"""Clients of WebSockets: each message is counted, a close in order is a move, and every other end is a failure."""

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
from tests.load.record import Kind, Outcome, Record
from tests.load.server import head, listening
from tests.load.websocket_clients import CLOSE, PING, PONG, TEXT

CHECKOUT = Path(__file__).resolve().parents[2]
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
Behaviour = Callable[[socket.socket], None]


def frame(client: socket.socket) -> tuple[int, bytes]:
    """Read a frame of a client; return opcode and payload."""
    head = client.recv(2, socket.MSG_WAITALL)
    if len(head) < 2:
        raise ConnectionError
    assert head[1] & 0x80, "frames of clients are masked"
    mask, payload = client.recv(4, socket.MSG_WAITALL), client.recv(head[1] & 0x7F, socket.MSG_WAITALL)
    return head[0] & 0xF, bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def send(client: socket.socket, opcode: int, payload: bytes) -> None:
    client.sendall(bytes([0x80 | opcode, len(payload)]) + payload)


def echo(client: socket.socket, times: int) -> None:
    """Answer so many messages, with a ping before each answer."""
    client.sendall(SWITCHING)
    for _ in range(times):
        opcode, payload = frame(client)
        if opcode == CLOSE:
            raise ConnectionError
        send(client, PING, b"?")
        assert frame(client) == (PONG, b"?")
        send(client, TEXT, payload)


def faithful(client: socket.socket) -> None:
    echo(client, 10_000)


def moving(client: socket.socket) -> None:
    echo(client, 2)
    send(client, CLOSE, (1012).to_bytes(2, "big"))


def losing(client: socket.socket) -> None:
    echo(client, 2)
    frame(client)
    send(client, CLOSE, (1012).to_bytes(2, "big"))


def silent(client: socket.socket) -> None:
    echo(client, 2)


def refusing(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def server(behaviour: Behaviour) -> Iterator[int]:
    def one(client: socket.socket) -> None:
        head(client)
        behaviour(client)

    with listening(one) as port:
        yield port


def run(port: int) -> Record:
    argv = [sys.executable, "-m", "tests.load.websocket_clients", "--port", str(port), "--timeout", "5"]
    pipe = subprocess.PIPE
    with Load(subprocess.Popen(argv, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True)) as load:
        load.wait_ready()
        while load.progress()["requests"] < 12:
            time.sleep(0.1)
        return load.stop()


@pytest.mark.parametrize(
    ("behaviour", "failed", "moves"),
    [
        (faithful, set(), False),
        (moving, set(), True),
        (losing, {(Outcome.EOF, "close 1012")}, False),
        (silent, {(Outcome.EOF, "close 0")}, False),
        (refusing, {(Outcome.HTTP_ERROR, "")}, False),
    ],
)
def test_each_end_of_a_connection_is_counted_as_what_it_is(
    behaviour: Behaviour, failed: set[tuple[Outcome, str]], moves: bool
) -> None:
    with server(behaviour) as port:
        record = run(port)
    assert {(request.outcome, request.detail) for request in record.failed} == failed
    assert bool(record.facts["moved"]) is moves
    assert {request.kind for request in record.requests} == {Kind.WEBSOCKET}
