"""Which listening sockets the processes of a unit were passed, and which they have made themselves."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from deployd.sockdiag import unix_diag
from deployd.sockdiag.passed import Found, Listening

OUTSIDE = 1


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    """A directory that looks like a cgroup, with this process in a cgroup below it."""
    below = tmp_path / "unit" / "worker"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return below.parent


def test_a_tcp_socket_was_passed_if_it_was_made_in_another_cgroup(cgroup: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode, inside = os.fstat(listener.fileno()).st_ino, (cgroup / "worker").stat().st_ino
        assert Listening({inode: ("127.0.0.1:80", OUTSIDE, 0)}, {}, set()).of_unit(cgroup) == Found(passed=True)
        own = Listening({inode: ("127.0.0.1:80", inside, 0)}, {}, set())
        assert own.of_unit(cgroup) == Found(passed=False, own=("127.0.0.1:80",))
        old_kernel = {inode: ("127.0.0.1:80", 0, 0)}
        assert Listening(old_kernel, {}, {inode}).of_unit(cgroup) == Found(passed=True)
        assert Listening(old_kernel, {}, set()).of_unit(cgroup) == Found(passed=False, own=("127.0.0.1:80",))


def test_a_unix_socket_was_passed_if_systemd_has_it_too(cgroup: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        inode = os.fstat(listener.fileno()).st_ino
        assert Listening({}, {inode: (path, 0)}, {inode}).of_unit(cgroup) == Found(passed=True)
        assert Listening({}, {inode: (path, 0)}, set()).of_unit(cgroup) == Found(passed=False, own=(path,))
        assert Listening({}, {inode: (path, 0)}, {inode}).of_unit(cgroup, [path]) == Found(passed=False)


def test_clients_of_a_unix_socket_wait_until_one_is_accepted(cgroup: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as clients:
        listener.bind(path)
        listener.listen()
        inode = os.fstat(listener.fileno()).st_ino

        def connect() -> socket.socket:
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(path)
            return client

        def look() -> Found:
            return Listening({}, unix_diag.listeners(), {inode}).of_unit(cgroup)

        assert look() == Found(passed=True)
        first, second = connect(), connect()
        before = look()
        assert before.waiting == {os.fstat(client.fileno()).st_ino for client in (first, second)}
        first.close()
        connect()
        after = look()
        assert (len(after.waiting), after.unknown, after.accepts) == (2, 1, False)
        assert not after.accepted_since(before), "a client that goes is not accepted"
        listener.accept()[0].close()
        assert look().accepted_since(after)
        last = look()
        connection, _ = listener.accept()
        connect()
        assert look().accepted_since(last), "as many wait as before"
        assert look().accepts
        connection.close()


def test_what_does_not_fit_into_a_message_waits_unknown() -> None:
    waiting, unknown = unix_diag.waiting({0: 3000})
    assert (waiting, unknown) == (frozenset(), 3000)
    looks = [Found(passed=True, waiting=frozenset(range(900))), Found(passed=True, unknown=3000)]
    assert not looks[1].accepted_since(looks[0])
    assert Found(passed=True, unknown=2999).accepted_since(looks[1])


def test_a_socket_of_another_namespace_was_passed_if_systemd_has_it_too(cgroup: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = os.fstat(listener.fileno()).st_ino
        assert Listening({}, {}, {inode}).of_unit(cgroup) == Found(passed=True)


def test_a_unit_without_listening_sockets(cgroup: Path) -> None:
    assert Listening({}, {}, set()).of_unit(cgroup) == Found(passed=False)
    assert Listening({}, {}, set()).of_unit(cgroup / "gone") == Found(passed=False)
