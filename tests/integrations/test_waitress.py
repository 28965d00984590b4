"""waitress_launcher.py: Waitress with a passed socket, READY=1, and an end without loss."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.host.root import HostRoot
from tests.integrations.activated import INTEGRATIONS, Activated, ask
from tests.servers.packages import python_packages

APP = """\
import time
def app(environ, start_response):
    open("begun", "w").close()
    time.sleep(float(environ["QUERY_STRING"] or 0))
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def waitress(directory: Path, *options: str, others: Sequence[socket.socket] = ()) -> Activated:
    (directory / "app.py").write_text(APP)
    argv = ["/usr/bin/python3", INTEGRATIONS / "waitress_launcher.py", *options, "app:app"]
    return Activated.start(argv, directory, {"PYTHONPATH": str(python_packages(HostRoot.native()))}, others)


def test_it_serves_when_it_says_so_and_ends_at_once_without_clients(tmp_path: Path) -> None:
    with waitress(tmp_path, "--threads", "2") as server:
        assert server.said() == "READY=1"
        with server.connect() as connection:
            assert b" 200 ok" in ask(connection)
        status, output = server.stop()
    assert status == 0, output
    assert "Traceback" not in output


def test_the_private_socket_of_a_probe_is_served_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "probe.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as probe:
        listener.bind(path)
        listener.listen()
        with waitress(tmp_path, others=[listener]) as server:
            assert server.said() == "READY=1"
            probe.connect(path)
            with server.connect() as connection:
                assert b" 200 ok" in ask(connection)
                assert b" 200 ok" in ask(probe)
            status, output = server.stop()
    assert status == 0, output


def test_clients_are_asked_to_leave(tmp_path: Path) -> None:
    with waitress(tmp_path) as server:
        assert server.said() == "READY=1"
        with server.connect() as kept, server.connect() as idle:
            assert b"connection: close" not in ask(kept)
            ask(idle)
            server.process.terminate()
            while b"connection: close" not in ask(kept):  # the signal has not arrived yet
                pass
            assert idle.recv(1) == b"", "closed after a moment"
        assert server.end()[0] == 0


def test_requests_under_way_are_finished(tmp_path: Path) -> None:
    with waitress(tmp_path) as server:
        assert server.said() == "READY=1"
        with server.connect() as upload, server.connect() as slow:
            upload.sendall(b"POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 4\r\n\r\nab")
            slow.sendall(b"GET /?3 HTTP/1.1\r\nHost: demo\r\n\r\n")
            while not (tmp_path / "begun").exists():
                assert server.said(within=0.05) == ""
            server.process.terminate()
            assert slow.recv(4096).startswith(b"HTTP/1.1 200 OK")
            upload.sendall(b"cd")
            assert upload.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert server.end()[0] == 0


@pytest.mark.parametrize("option", ["--port=8080", "--listen=127.0.0.1:8080", "--unix-socket=/run/x"])
def test_a_place_to_listen_is_refused(tmp_path: Path, option: str) -> None:
    with waitress(tmp_path, option) as server:
        status, output = server.end()
    assert status == 1
    assert f"waitress_launcher.py: {option.partition('=')[0]} does not fit" in output


def test_an_application_that_cannot_be_imported_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    argv = ["/usr/bin/python3", INTEGRATIONS / "waitress_launcher.py", "broken:app"]
    with Activated.start(argv, tmp_path, {"PYTHONPATH": str(python_packages(HostRoot.native()))}) as server:
        assert server.said() == ""
        status, output = server.end()
    assert status == 1
    assert "no_such_module" in output
