"""The response of the demonstration application to /_status, on every socket passed to it."""

import json
import socket
from pathlib import Path

import pytest

from tests.sample_apps import test_demo_app
from tests.sample_apps.release import make_release
from tests.sample_apps.test_demo_app import DEADLINE, Host

host = test_demo_app.host


@pytest.mark.parametrize(
    ("mode", "after", "status"),
    [
        ("good", "0", 200),
        ("error500", "0", 500),
        ("unready", "0", 503),
        ("warming", "0", 200),
        ("warming", "1000", 503),
        ("unready-later", "0", 503),
        ("unready-later", "1000", 200),
    ],
)
def test_the_status_depends_on_the_mode(host: Host, tmp_path: Path, mode: str, after: str, status: int) -> None:
    host.start(make_release(tmp_path / "r", "1", mode, files={"status_after": after}))
    answers = []
    for path in ("/_status", "/"):
        connection = host.connect()
        connection.request("GET", path)
        answers.append(connection.getresponse().status)
    assert answers == [status, 500 if mode == "error500" else 200]


def test_only_the_status_may_be_slow(host: Host, tmp_path: Path) -> None:
    host.start(make_release(tmp_path / "r", "1", "slow-status", files={"status_ms": "100000"}))
    slow, fast = host.connect(), host.connect()
    slow.request("GET", "/_status")
    fast.request("GET", "/")
    assert fast.getresponse().status == 200


@pytest.mark.parametrize(("mode", "served"), [("good", True), ("deaf", False)])
def test_the_probe_socket_is_served_like_the_others(host: Host, tmp_path: Path, mode: str, served: bool) -> None:
    path = str(tmp_path / "probe.sock")
    host.listeners.append(host.listen(path))
    instance = host.start(make_release(tmp_path / "r", "1", mode), {"LISTEN_FDNAMES": "web.socket:probe"})
    asked = host.stack.enter_context(socket.socket(socket.AF_UNIX))
    asked.settimeout(DEADLINE if served else 0.2)
    asked.connect(path)
    asked.sendall(b"GET /_status HTTP/1.0\r\n\r\n")
    if served:
        assert json.loads(asked.recv(65536).partition(b"\r\n\r\n")[2])["pid"] == instance.process.pid
    else:
        with pytest.raises(TimeoutError):
            asked.recv(1)
