"""Which listening sockets the processes of a unit were passed, and which they have made themselves."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

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
        assert Listening({}, {inode: path}, {inode}).of_unit(cgroup) == Found(passed=True)
        assert Listening({}, {inode: path}, set()).of_unit(cgroup) == Found(passed=False, own=(path,))
        assert Listening({}, {inode: path}, {inode}).of_unit(cgroup, [path]) == Found(passed=False)


def test_a_socket_of_another_namespace_was_passed_if_systemd_has_it_too(cgroup: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = os.fstat(listener.fileno()).st_ino
        assert Listening({}, {}, {inode}).of_unit(cgroup) == Found(passed=True)


def test_a_unit_without_listening_sockets(cgroup: Path) -> None:
    assert Listening({}, {}, set()).of_unit(cgroup) == Found(passed=False)
    assert Listening({}, {}, set()).of_unit(cgroup / "gone") == Found(passed=False)
