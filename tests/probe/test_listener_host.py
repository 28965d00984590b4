"""An instance of a steered app is probed over HTTP at its own listener, at the address that all instances share."""

from __future__ import annotations

import pytest

from tests.host.private import HTTP
from tests.host.stage import APP, Stage
from tests.host.steered import generations, unharmed

# Serves fd 3 and nothing else, and does not notify systemd. It answers wrongly if the file `wrong` is in the release.
ONE_SOCKET = """\
import http.server, json, os, pathlib, signal, socket, threading

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        names = ("DEPLOYD_GENERATION", "DEPLOYD_INSTANCE", "LISTEN_FDS")
        body = json.dumps({name.rpartition("_")[2].lower(): int(os.environ[name]) for name in names}).encode()
        host = pathlib.Path("host")
        known = not host.exists() or host.read_text().strip() == self.headers["Host"]
        self.send_response(500 if pathlib.Path("wrong").exists() else 200 if known else 400)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""


def one_socket(stage: Stage, name: str, **files: str) -> str:
    return stage.release(name, files={"one.py": ONE_SOCKET, **files})


def test_a_program_with_one_socket_that_cannot_notify_is_probed(stage: Stage) -> None:
    """No second socket is passed, and no answer of a wrong release reaches a client."""
    stage.configure(
        release=one_socket(stage, "v1"),
        exec=["/usr/bin/python3", "one.py"],
        routing="steered",
        instances=2,
        gate={"type": "exec", "probe": HTTP},
    )
    ended = stage.change("apply")
    assert ended.result == "succeeded", ended
    assert not stage.machine.run(["systemctl", "list-units", "--no-legend", f"{APP}:probe@*"]).stdout
    assert stage.get()["fds"] == 1
    before = stage.invocations()
    with stage.load(rate=100, keepalive=0) as load:
        ended = stage.rollout(one_socket(stage, "v2", wrong=""))
        assert (ended.status, ended.result) == (1, "rolled-back"), ended
        assert "GET /_status answered 500 instead of 200" in ended.reason
        assert stage.invocations() == before
        ended = stage.rollout(one_socket(stage, "v3"))
        assert ended.result == "succeeded", ended
        record = unharmed(load.stop())
    assert set(record.generations()) <= {1, 3}, "no client has seen the wrong one"
    assert generations(stage) == {3}


@pytest.mark.thorough
def test_a_program_that_serves_one_host_only_is_asked_for_it(stage: Stage) -> None:
    settings = {"exec": ["/usr/bin/python3", "one.py"], "routing": "steered", "instances": 1}
    stage.configure(
        **settings,
        release=one_socket(stage, "v1", host="www.example.com"),
        gate={"type": "exec", "probe": {**HTTP, "host": "www.example.com"}},
    )
    assert stage.change("apply").result == "succeeded"
    stage.configure(gate={"type": "exec", "probe": HTTP})
    ended = stage.rollout(one_socket(stage, "v2", host="www.example.com"))
    assert ended.result == "rolled-back", ended
    assert f'set host in probe: it was asked for "{APP}"' in ended.reason


@pytest.mark.thorough
def test_an_address_that_the_loopback_device_does_not_reach_has_a_private_socket(stage: Stage) -> None:
    stage.machine.run(["ip", "address", "add", "192.0.2.7/32", "dev", "lo"])
    try:
        stage.deploy("v1", routing="steered", instances=1, listen=["192.0.2.7:8080"], gate={"probe": HTTP})
        assert stage.machine.run(["systemctl", "is-active", f"{APP}:probe@1.socket"]).stdout.strip() == "active"
    finally:
        stage.machine.run(["ip", "address", "del", "192.0.2.7/32", "dev", "lo"])
