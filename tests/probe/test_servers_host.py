"""Servers that serve the private socket alongside the app's own. Others, tested by hand, are in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.private import HTTP, ask
from tests.host.stage import Stage
from tests.host.unit_journal import What

WSGI = """\
import json, os, time

time.sleep(float(open("boot").read()))

def application(environ, start_response):
    body = json.dumps({"pid": os.getpid(), "parent": os.getppid(), "version": open("VERSION").read().strip()}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

# Like uvicorn --fd 3: it uses one socket, however many are passed.
ONE = """\
import http.server, os, socket

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

server = http.server.ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
"""


def gunicorn(stage: Stage, version: str, boot: float) -> str:
    return stage.release(version, boot=boot, files={"wsgi.py": WSGI})


def test_gunicorn_serves_both_and_its_workers_are_probed(stage: Stage) -> None:
    """gunicorn sends READY=1 when its arbiter has booted; only the probe shows that the workers serve."""
    stage.configure(
        release=gunicorn(stage, "v1", 0.0),
        exec=["/usr/bin/gunicorn", "--workers", "2", "wsgi"],
        instances=2,
        user="www-data",
        gate={"probe": HTTP},
    )
    ended = stage.change("apply")
    assert ended.result == "succeeded", ended
    for number in (1, 2):
        assert ask(stage, number)["parent"] == stage.pid(number)
        # The sockets belong to systemd: gunicorn leaves them in place when it exits.
        stage.machine.run(["systemctl", "restart", f"demo@{number}.service"])
        assert ask(stage, number)["parent"] == stage.pid(number)

    stage.journal.restart()
    release = gunicorn(stage, "v2", 1.0)
    with stage.load(rate=50) as load:
        ended = stage.rollout(release)
        record = load.stop()
    assert ended.result == "succeeded", ended
    assert not record.failed, record.by_outcome()
    assert stage.get()["version"] == "v2"
    changes = [change for change in stage.journal.changes() if change.what in (What.STARTED, What.STOPPING)]
    assert [change.what for change in changes] == [What.STARTED, What.STOPPING] * 2
    assert all(stopping.at - started.at > 0.5 for started, stopping in zip(changes[::2], changes[1::2], strict=True))


@pytest.mark.thorough
def test_a_server_that_uses_one_socket_uses_the_listening_socket(stage: Stage) -> None:
    """If it used the private one, even only sometimes, it would pass its probe without serving clients."""
    stage.configure(
        release=stage.release("v1", files={"one.py": ONE}),
        exec=["/usr/bin/python3", "one.py"],
        gate={"type": "exec", "timeout": "2s", "probe": HTTP | {"timeout": "500ms"}},
    )
    ended = stage.change("apply")
    assert ended.result == "failed", ended
    assert "GET /_status was not read within 0.5 s: does the server accept connections" in ended.reason
    # Without an HTTP probe only the listening socket is passed.
    check = {"command": ["/usr/bin/true"]}
    stage.configure(gate={"type": "exec", "probe": check})
    ended = stage.change("apply")
    assert ended.result == "succeeded", ended
    assert stage.get() == {}
    names = {stage.process(number)[1]["LISTEN_FDNAMES"] for number in stage.invocations()}
    assert names == {"demo.socket"}


@pytest.mark.thorough
def test_the_private_socket_is_passed_last(stage: Stage) -> None:
    """Checked for many starts, because systemd's own order differs each time."""
    stage.deploy("v1", instances=8, listen=["127.0.0.1:8080", "127.0.0.1:8081"], gate={"probe": HTTP})
    for number in stage.invocations():
        _, environment = stage.process(number)
        assert environment["LISTEN_FDNAMES"] == "demo.socket:demo.socket:probe"
        proc: Path = stage.machine.path(f"/proc/{stage.pid(number)}/fd")
        inode = (proc / "5").readlink().name.strip("socket:[]")
        rows = stage.machine.read("/proc/1/net/unix").splitlines()
        assert [row.split()[-1] for row in rows if row.split()[6] == inode] == [
            f"/run/deployd/probe/demo/{number}.sock"
        ]
