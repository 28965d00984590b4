"""Many instances, and many apps, steered: all serve, through a rollout and without the daemon."""

from __future__ import annotations

import pytest

from deployd.bus import Bus
from tests.host.faults import kill_daemon
from tests.host.stage import DEADLINE, Stage
from tests.host.steered import DAEMON, MAP_BY_ID, asked, generations, kept, kernel_ids, living, sockets, unharmed
from tests.on_bus import run
from tests.sample_apps.release import app_file

pytestmark = pytest.mark.thorough

INSTANCES, SURGE = 64, 16
APPS, FIRST_PORT = 50, 20000
STORED = 7
"""The maps of an app with one address that a new daemon continues to use."""

TINY = """\
#!/bin/sh
exec /usr/bin/python3 -S -E tiny.py
"""
TINY_PY = """\
import os, select, signal, socket
listener = socket.socket(fileno=3)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    address = os.environ["NOTIFY_SOCKET"]
    notify.sendto(b"READY=1", "\\0" + address[1:] if address[0] == "@" else address)
body = b'{"generation": %s}' % os.environb[b"DEPLOYD_GENERATION"]
answer = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body) + body
while True:
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        select.select([listener], [], [])
        continue
    with connection:
        connection.setblocking(True)
        connection.recv(65536)
        connection.sendall(answer)
"""


def test_many_instances(stage: Stage) -> None:
    stage.deploy(
        "v1", routing="steered", instances=INSTANCES, rollout={"max_surge": SURGE}, gate={"timeout": f"{DEADLINE:g}s"}
    )
    assert len(sockets(stage)) == INSTANCES
    found = stage.status()
    assert found["ready"] == INSTANCES
    assert round(sum(item["weight"] for item in found["instances"])) == 100
    with stage.load(100, 4, "--timeout", "30") as load:
        kill_daemon(stage)
        stage.machine.wait_unit(DAEMON)
        ended = stage.rollout(stage.release("v2"))
        assert ended.result == "succeeded", ended
        unharmed(load.stop())
    assert generations(stage) == {2}
    assert len(sockets(stage)) == INSTANCES
    assert asked(stage).keys() == {2}


def test_many_apps(stage: Stage) -> None:
    machine = stage.machine
    release = stage.release("tiny", files={"run": TINY, "tiny.py": TINY_PY})
    names = [f"tiny{number}" for number in range(APPS)]
    for number, name in enumerate(names):
        text = app_file(name, release, FIRST_PORT + number, 1, exec=["./run"], routing="steered")
        machine.write(f"/etc/deployd/apps/{name}.toml", text)
    run(apply(stage, names))

    def serving() -> set[int]:
        return {int(stage.get(port=FIRST_PORT + number)["generation"]) for number in range(APPS)}

    def all_ready() -> bool:
        return [app["ready"] for app in stage.json("status")["apps"] if app["rollout"] is None] == [1] * APPS

    machine.wait_for(all_ready, timeout=DEADLINE, what="all apps")
    assert serving() == {1}
    assert kept(stage) == STORED * APPS
    maps, _ = kernel_ids(stage)
    with stage.load(50, 2, "--port", str(FIRST_PORT)) as load:
        machine.run(["systemctl", "restart", DAEMON])
        assert serving() == {1}
        machine.wait_for(all_ready, timeout=DEADLINE, what="all apps to be known again")
        assert len(maps & kernel_ids(stage)[0]) == STORED * APPS
        assert stage.deployd("restart", names[0]).returncode == 0
        unharmed(load.stop())
    for name in names[:3]:
        assert stage.deployd("remove", name).returncode == 0
    assert kept(stage) == STORED * (APPS - 3)
    gone = maps - kernel_ids(stage)[0]
    machine.wait_for(lambda: not living(MAP_BY_ID, gone), what="the end of their maps")


async def apply(stage: Stage, names: list[str]) -> None:
    """Do what `deployd apply --no-block` does for each, which takes longer."""
    bus = await Bus.connect(stage.machine.bus_address)
    try:
        for name in names:
            await bus.call("org.deployd1", f"/org/deployd1/app/{name}", "org.deployd1.App", "Apply", "a{sv}", [{}])
    finally:
        await bus.close()
