"""A program that listens on a port of its own gets the connections of the socket that its instance was passed."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.app import App, Listen, ListenKind, Mode
from deployd.units.text import generation_files, port_mode

DEADLINE = 30.0
PROGRAM = """\
import os, socket, sys

host, dual = sys.argv[1], sys.argv[1] == "::"
family = socket.AF_INET6 if ":" in host else socket.AF_INET
listener = socket.create_server((host, int(sys.argv[3].removeprefix("port="))), family=family, dualstack_ipv6=dual)
while True:
    connection, _ = listener.accept()
    listens = sorted(name for name in os.environ if name.startswith("LISTEN_"))
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        children = file.read().split()
    received = connection.recv(100)
    if received == b"later":
        connection.recv(1)  # the end of the client's side
    said = [sys.argv[2:], os.environ["PORT"], listens, fds[:4], children, received]
    connection.sendall(repr(said).encode())
    connection.close()
"""
APP = App(
    "demo",
    "/srv/demo",
    ("/usr/bin/python3", "server.py", "127.0.0.1", "a $PORTABLE 'word'", "port=${PORT}"),
    (Listen(ListenKind.TCP, "127.0.0.1:80"),),
    mode=Mode.PORT,
)


@contextmanager
def running(app: App, directory: Path) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """Start an instance of `app` as systemd would; yield its socket and its process."""
    (directory / "server.py").write_text(PROGRAM)
    (directory / "run").write_text(generation_files(app, 1, str(directory))["run"][0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = ["/bin/sh", "-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec /bin/sh run 1"]
        environment = os.environ | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "demo.socket"}
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=listener.fileno(), start_new_session=True
        )
        try:
            yield listener, process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(listener: socket.socket) -> bytes:
    with socket.create_connection(listener.getsockname(), DEADLINE) as connection:
        connection.settimeout(DEADLINE)
        connection.sendall(b"hello")
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1"])
def test_the_program_is_reached_through_the_socket_and_knows_nothing_of_it(tmp_path: Path, host: str) -> None:
    app = dataclasses.replace(APP, exec=(*APP.exec[:2], host, *APP.exec[3:]))
    with running(app, tmp_path) as (listener, process):
        argv, port, listens, fds, children, received = eval(ask(listener))
        assert argv == ["a $PORTABLE 'word'", f"port={port}"]
        assert 20000 <= int(port) < 32000
        assert (listens, children, received) == ([], [], b"hello")
        assert 3 not in fds[:3]
        os.killpg(process.pid, 0)
        assert eval(ask(listener))[1] == port


def test_instances_that_start_together_have_different_ports(tmp_path: Path) -> None:
    places = [tmp_path / str(number) for number in range(3)]
    for place in places:
        place.mkdir()
    with running(APP, places[0]) as one, running(APP, places[1]) as two, running(APP, places[2]) as three:
        assert len({eval(ask(listener))[1] for listener, _ in (one, two, three)}) == 3


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_only_the_port_is_replaced_in_a_word(text: str) -> None:
    command = ["/bin/sh", "-c", f"printf %s {port_mode.word(text)}"]
    found = subprocess.run(command, env={"PORT": "21000"}, capture_output=True, check=True).stdout.decode()
    assert port_mode.word("$PORT ${PORT} $PORTS") == "''\"$PORT\"' '\"$PORT\"' $PORTS'"
    if "$PORT" not in text and "${PORT}" not in text:
        assert found == text


def test_a_client_that_ends_its_side_before_the_response_gets_none(tmp_path: Path) -> None:
    """So does systemd-socket-proxyd; the manual says it."""
    with running(APP, tmp_path) as (listener, _):
        ask(listener)
        with socket.create_connection(listener.getsockname(), DEADLINE) as connection:
            connection.settimeout(DEADLINE)
            connection.sendall(b"later")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
