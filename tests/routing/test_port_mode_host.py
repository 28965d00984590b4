"""Programs that listen on a port of their own, behind systemd-socket-proxyd: nothing is lost when they are replaced."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.host.stage import APP, PORT, Json, Stage
from tests.host.steered import generations, unharmed

RUN = """\
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=512)
os.dup2(os.dup(listener.fileno()), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv("/usr/bin/python3", ["/usr/bin/python3", "app.py"])
"""
"""The demo application takes a socket: it is passed one that was bound to $PORT."""
SLOW = """\
import os, signal, socket, threading
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
signal.signal(signal.SIGTERM, lambda *_: listener.close())
while True:
    try:
        connection, _ = listener.accept()
    except OSError:
        break
    with connection:
        request = connection.recv(65536)
        body = b"x" * (8_000_000 if b"/large" in request else 2)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
"""
"""It ends when all it has to send is in the buffers of its proxy and of the kernel."""
PROBED: Json = {"timeout": "20s", "probe": {"http": "/"}}
EXEC: Json = {**PROBED, "type": "exec"}
RUNS = ["/usr/bin/python3", "run.py"]
FILES = {"run.py": RUN}
FACED = "each instance on a port of its own behind systemd-socket-proxyd"


def release(stage: Stage, version: str, **options: object) -> str:
    return stage.release(version, files=FILES, **options)  # type: ignore[arg-type]


def deploy(stage: Stage, gate: Json, **settings: object) -> None:
    stage.configure(release=release(stage, "v1"), exec=RUNS, mode="port", routing="steered", gate=gate, **settings)
    ended = stage.change("apply")
    assert ended.result == "succeeded", ended


def test_releases_are_rolled_out_under_load(stage: Stage) -> None:
    deploy(stage, EXEC, user="www-data")
    assert FACED in stage.deployd("status", APP).stdout
    assert stage.status()["mode"] == "port"
    with stage.load(rate=150, keepalive=4) as load:
        for number in (2, 3):
            ended = stage.rollout(release(stage, f"v{number}"))
            assert ended.result == "succeeded", ended
        assert stage.change("rollback").result == "succeeded"
        record = unharmed(load.stop())
    assert record.generations().keys() == {1, 2, 3, 4}
    assert generations(stage) == {4}
    for number in stage.invocations():
        _, environ = stage.process(number)
        assert environ["PORT"] != str(PORT)
    assert not stage.machine.run(["systemctl", "--failed", "--quiet"]).stdout


@pytest.mark.thorough
def test_bad_releases_are_stopped(stage: Stage) -> None:
    deploy(stage, PROBED, stop={"timeout": "1h"})  # one that accepts nothing is not waited for so long
    before = stage.invocations()
    fixed = RUN.replace('int(os.environ["PORT"])', str(PORT))
    elsewhere = RUN.replace('int(os.environ["PORT"])', str(PORT + 1))
    never = "import time\ntime.sleep(3600)\n"
    with stage.load(rate=100, keepalive=4) as load:
        for name, files, reason in (
            ("fixed", {"run.py": fixed}, f"systemd holds 127.0.0.1:{PORT} for the app"),
            ("crash", {"run.py": "raise SystemExit(1)\n"}, "exited with status 1"),
            ("never", {"run.py": never}, ""),
            ("elsewhere", {"run.py": elsewhere}, "does the program listen on 127.0.0.1, at the port in PORT?"),
        ):
            stage.configure(gate={**PROBED, "timeout": "3s"})
            ended = stage.rollout(stage.release(name, files=files))
            assert ended.result == "rolled-back", ended
            assert reason in ended.reason
        ended = stage.rollout(release(stage, "wrong", mode="error500"))
        assert ended.result == "rolled-back", ended
        unharmed(load.stop())
    assert stage.invocations() == before


@pytest.mark.thorough
def test_a_slow_client_gets_all_that_a_stopped_program_has_sent(stage: Stage) -> None:
    files = {"run.py": SLOW}
    settings = {"mode": "port", "routing": "steered", "gate": EXEC, "instances": 2}
    stage.configure(release=stage.release("v1", files=files), exec=RUNS, **settings)
    assert stage.change("apply").result == "succeeded"
    with stage.machine.connect(("127.0.0.1", PORT), 60) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: demo\r\n\r\n")
        received = len(connection.recv(65536))
        with stage.begin("rollout", "--release", stage.release("v2", files=files)) as begun:
            begun.until("instance", state="stopping")
            while data := connection.recv(1 << 20):
                received += len(data)
            ended = begun.end()
    assert received > 8_000_000
    assert ended.result == "succeeded", ended


@pytest.mark.thorough
def test_a_crashed_program_comes_back_behind_its_proxy(stage: Stage) -> None:
    """Of later connections only those are lost that the proxy accepts before systemd has ended it."""
    deploy(stage, PROBED, service={"RestartSec": "200ms"})
    before = stage.invocations()[2]
    with stage.load(rate=100, keepalive=0) as load:
        held = stage.kill(2)
        stage.machine.wait_for(lambda: _again(stage, 2, before.invocation), what="the instance to come back")
        record = load.stop()
    assert len(record.failed) <= held + 5, record.by_outcome()
    answers = Counter(int(stage.get()["instance"]) for _ in range(40))
    assert sorted(answers) == [1, 2, 3, 4]


@pytest.mark.thorough
def test_instances_in_standby_serve_again_with_their_proxies(stage: Stage) -> None:
    deploy(stage, PROBED, rollout={"standby": "1h"})
    with stage.load(rate=100, keepalive=2) as load:
        assert stage.rollout(release(stage, "v2")).result == "succeeded"
        stage.machine.wait_for(lambda: stage.status()["standby"], what="instances in standby")
        ended = stage.change("rollback")
        assert ended.result == "succeeded", ended
        unharmed(load.stop())
    assert generations(stage) == {1}, "the processes of the first generation"
    assert {ran.generation for ran in stage.invocations().values()} == {3}


@pytest.mark.thorough
def test_an_app_moves_to_a_port_and_back(stage: Stage) -> None:
    stage.deploy("v1", gate=PROBED, routing="steered")
    with stage.load(rate=100, keepalive=4) as load:
        stage.configure(release=release(stage, "v2"), exec=RUNS, mode="port")
        assert stage.change("apply").result == "succeeded"
        assert stage.change("rollback").result == "succeeded"
        unharmed(load.stop())
    assert json.loads(stage.deployd("status", APP, "--json").stdout)["mode"] == "socket"


def _again(stage: Stage, number: int, before: str) -> bool:
    rows = [row for row in stage.status()["instances"] if row["instance"] == number]
    return any(row["ready"] and row["invocation_id"] != before and row["weight"] for row in rows)
