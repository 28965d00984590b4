"""UNIX sockets as the kernel reports them: listeners, queues, accepted connections and the processes that have them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from deployd.sockdiag import holders, unix_diag


def test_queues_and_accepted_connections_are_counted(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        assert unix_diag.queues()[path] == 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
            assert unix_diag.queues()[path] == 1
            assert not unix_diag.accepted([path])
            connection, _ = listener.accept()
            with connection:
                assert unix_diag.queues()[path] == 0
                assert unix_diag.accepted([path]) == {os.fstat(connection.fileno()).st_ino: path}
                assert not unix_diag.accepted([str(tmp_path / "b")])


def test_sockets_without_a_path_are_left_out(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as real,
    ):
        abstract.bind(f"\0{tmp_path}")
        abstract.listen()
        real.bind(str(tmp_path / "a"))
        real.listen()
        found = unix_diag.queues()
        assert found[str(tmp_path / "a")] == 0
        assert str(tmp_path) not in found
        assert "" not in found


def test_the_sockets_of_a_units_processes_are_found(tmp_path: Path) -> None:
    """Also those of processes in cgroups below that of the unit; a process that has ended is no error."""
    below = tmp_path / "worker"
    below.mkdir()
    (tmp_path / "cgroup.procs").write_text("999999999\n")
    (below / "cgroup.procs").write_text(f"{os.getpid()}\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mine:
        inode = os.fstat(mine.fileno()).st_ino
        assert inode in holders.inodes(tmp_path)
    assert inode not in holders.inodes(tmp_path)
    assert not holders.inodes(tmp_path / "gone")
