"""How idle connections of another process are closed: real sockets of this process, with times as the test says."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from deployd.model.traffic import Traffic
from deployd.plan.idle_connections import Ending
from deployd.routing import idle_connections
from deployd.sockdiag import inet_diag

Pair = tuple[socket.socket, socket.socket]
IDLE = Traffic(60.0, 61.0)


class Diag:
    """Reports the connections of one instance."""

    def __init__(self, *served: socket.socket) -> None:
        self.found = {os.fstat(one.fileno()).st_ino: IDLE for one in served}

    def traffic(self, _cgroups: Collection[int]) -> dict[int, Traffic]:
        return self.found


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """Two connections: the server's end and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        clients = [socket.create_connection(listener.getsockname()) for _ in range(2)]
        found = [(listener.accept()[0], client) for client in clients]
    yield found
    for pair in found:
        for end in pair:
            end.close()


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return tmp_path


def test_both_ends_read_the_end(pairs: list[Pair], cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inet_diag, "traffic", lambda _, queued: Traffic(60.0, 61.0, queued=queued))
    diag = Diag(*(server for server, _ in pairs))
    assert idle_connections.close(diag, [7], cgroup) is Ending.CLOSE  # type: ignore[arg-type]
    assert [end.recv(1) for pair in pairs for end in pair] == [b""] * 4


def test_one_that_came_into_use_meanwhile_is_left(pairs: list[Pair], cgroup: Path) -> None:
    """The kernel's own times: these connections are new."""
    diag = Diag(pairs[0][0])
    assert idle_connections.close(diag, [7], cgroup) is Ending.IN_USE  # type: ignore[arg-type]
    server, client = pairs[0]
    client.sendall(b"request")
    assert server.recv(16) == b"request"


def test_none_is_touched_if_one_is_in_use(pairs: list[Pair], cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inet_diag, "traffic", lambda _, queued: Traffic(60.0, 61.0, queued=queued))
    diag = Diag(*(server for server, _ in pairs))
    diag.found[next(iter(diag.found))] = Traffic(61.0, 60.0)
    assert idle_connections.close(diag, [7], cgroup) is Ending.IN_USE  # type: ignore[arg-type]
    for server, client in pairs:
        client.sendall(b"request")
        assert server.recv(16) == b"request"
