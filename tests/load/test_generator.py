"""The load generator names each kind of failure, and counts every request."""

import contextlib
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.load.client import Load, LoadError
from tests.load.record import Kind, Outcome, Record

CHECKOUT = Path(__file__).resolve().parents[2]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
Behaviour = Callable[[socket.socket], None]


def ask(client: socket.socket) -> bytes:
    """Read one whole request, or nothing if the client has closed."""
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        data = client.recv(4096)
        if not data:
            return b""
        got += data
    return got


@contextlib.contextmanager
def server(behaviour: Behaviour) -> Iterator[int]:
    """Run a server with a thread for each connection, which `behaviour` handles; then the connection is closed."""

    def one(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            behaviour(client)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.settimeout(10)
                threads.append(threading.Thread(target=one, args=(client,)))
                threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for thread in threads:
        thread.join()


def load(port: int, rate: float = 100, keepalive: int = 0, *options: str) -> Record:
    options = ("--duration", "0.3", "--timeout", "0.5", "--think", "0.02", *options)
    with Load.start(
        subprocess.Popen, port, rate, keepalive, options=options, ready_within=None, cwd=CHECKOUT
    ) as generator:
        return generator.finish()


def reset(client: socket.socket) -> None:
    ask(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(client: socket.socket) -> None:
    while client.recv(4096):
        continue


def answer(*pieces: bytes) -> Behaviour:
    def behaviour(client: socket.socket) -> None:
        ask(client)
        for piece in pieces:
            client.sendall(piece)

    return behaviour


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (answer(OK), Outcome.OK),
        (answer(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"), Outcome.OK),
        (answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), Outcome.OK),
        (answer(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), Outcome.HTTP_ERROR),
        (answer(), Outcome.EOF),
        (answer(b"HTTP/1.1 2"), Outcome.SHORT),
        (answer(OK[:-1]), Outcome.SHORT),
        (answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), Outcome.SHORT),
        (answer(b"220 mail\r\n\r\n"), Outcome.OTHER),
        (reset, Outcome.RESET),
        (silent, Outcome.TIMEOUT),
    ],
)
def test_each_outcome_of_a_fresh_request_has_its_name(behaviour: Behaviour, outcome: Outcome) -> None:
    with server(behaviour) as port:
        record = load(port)
    assert set(record.by_outcome()) == {outcome}
    assert 25 <= len(record) <= 32


def test_a_port_without_a_listener_is_refused() -> None:
    with socket.socket() as bound:  # bound, so that no other process can listen there
        bound.bind(("127.0.0.1", 0))
        record = load(bound.getsockname()[1], 100, 2)
    assert set(record.by_outcome()) == {Outcome.REFUSED}
    assert {request.kind for request in record.requests} == {Kind.FRESH, Kind.KEEPALIVE}


def test_arrivals_do_not_wait_for_responses() -> None:
    with server(silent) as port:
        record = load(port)
    starts = [request.start for request in record.requests]
    assert [later - earlier for earlier, later in pairwise(starts)] == pytest.approx([0.01] * (len(starts) - 1))


def test_a_keepalive_client_uses_one_connection() -> None:
    def serve(client: socket.socket) -> None:
        while ask(client):
            client.sendall(OK)

    with server(serve) as port:
        record = load(port, 0, 1)
    assert set(record.by_outcome()) == {Outcome.OK}
    assert [request.nth for request in record.requests] == list(range(1, len(record) + 1))
    assert len(record) > 3


def test_a_keepalive_connection_with_close_is_replaced_without_loss() -> None:
    def serve(client: socket.socket) -> None:
        for said in (OK, OK, CLOSE):
            ask(client)
            client.sendall(said)

    with server(serve) as port:
        record = load(port, 0, 1)
    assert set(record.by_outcome()) == {Outcome.OK}
    assert [request.nth for request in record.requests[:4]] == [1, 2, 3, 1]
    assert record.facts["idle_closes"] == 0


def test_a_close_between_requests_is_counted_and_no_failure() -> None:
    with server(answer(OK)) as port:
        record = load(port, 0, 1)
    assert set(record.by_outcome()) == {Outcome.OK}
    assert record.facts["idle_closes"] >= len(record) - 1


def test_a_close_instead_of_a_response_on_a_used_connection_is_a_failure() -> None:
    def serve(client: socket.socket) -> None:
        ask(client)
        client.sendall(OK)
        ask(client)

    with server(serve) as port:
        record = load(port, 0, 1)
    assert [(request.nth, request.outcome) for request in record.requests[:4]] == [
        (1, Outcome.OK),
        (2, Outcome.EOF),
    ] * 2


def test_marks_and_progress_get_replies_during_the_load() -> None:
    with server(answer(OK)) as port, Load.start(subprocess.Popen, port, 200, cwd=CHECKOUT) as generator:
        first = generator.mark("rollout 1-start")
        progress = generator.progress()
        second = generator.mark("rollout 1-end")
        record = generator.stop()
    assert progress["requests"] >= 50
    assert progress["failed"] == 0
    assert [(mark.name, mark.at) for mark in record.marks[1:]] == [
        ("rollout 1-start", first),
        ("rollout 1-end", second),
    ]
    assert record.start < record.marks[0].at <= first < second <= record.end
    assert record.marks[0].name == "ready"


def test_sigterm_ends_the_load_with_summary_and_record(tmp_path: Path) -> None:
    path = tmp_path / "record"
    with server(answer(OK)) as port:
        argv = [sys.executable, "-m", "tests.load", "--url", f"http://127.0.0.1:{port}/x?y=z", "--record", str(path)]
        with subprocess.Popen(
            argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            summary = json.loads(process.stdout.readline())
            assert process.wait(10) == 0
    record = Record.load(path.read_text().splitlines())
    assert summary["requests"] == len(record) >= 50
    assert summary["outcomes"] == {"ok": len(record)}


def test_commands_after_its_end_are_an_error() -> None:
    with server(answer(OK)) as port:
        options = ("--duration", "0.1")
        generator = Load.start(subprocess.Popen, port, 10, options=options, ready_within=None, cwd=CHECKOUT)
        with generator, pytest.raises(LoadError, match="finished"):
            generator.wait_ready()


def test_the_load_stops_when_its_caller_has_ended() -> None:
    with server(answer(OK)) as port, Load.start(subprocess.Popen, port, 200, cwd=CHECKOUT) as generator:
        generator.kill()
    assert generator.process.returncode == 0
