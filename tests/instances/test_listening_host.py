"""Ready means that clients are served: READY=1 counts only from an instance that has the socket it was passed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deployd.model.remedies import OTHER_LISTENER
from tests.host.stage import APP, DEADLINE, Stage
from tests.sample_apps.release import app_file

pytestmark = pytest.mark.thorough

READY = """\
import os, signal, socket, sys, time

def ready():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1\\nMAINPID=%d" % os.getpid(), os.environ["NOTIFY_SOCKET"])

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
"""

ELSEWHERE = f"""{READY}
os.close(3)
with socket.create_server(("127.0.0.1", 8000)):
    ready()
    signal.pause()
"""

# The worker gets the socket a while after READY=1, and the main process never has it again.
WORKER = f"""{READY}
import socketserver

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        self.wfile.write(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n{{}}')

ready()
worker = os.fork()
if worker == 0:
    server = socketserver.ThreadingTCPServer(("", 0), Handler, bind_and_activate=False)
    server.socket = socket.fromfd(3, socket.AF_INET, socket.SOCK_STREAM)
    os.close(3)
    server.serve_forever()
os.close(3)
open("/run/worker-" + os.environ["DEPLOYD_INSTANCE"], "w").write(str(worker))
while True:
    signal.pause()
"""


# A client waits at its socket, and nothing is ever accepted.
QUEUE = "queue"
IDLE = f"""{READY}
client = socket.socket(socket.AF_UNIX)
client.connect("/run/{QUEUE}.sock")
ready()
signal.pause()
"""


@contextmanager
def queue_fails(stage: Stage) -> Iterator[None]:
    """Deploy an app that never accepts, which is found after 15 s, while the test does something else."""
    stage.machine.write(f"/srv/{QUEUE}/app.py", IDLE)
    settings = app_file(QUEUE, f"/srv/{QUEUE}", f"/run/{QUEUE}.sock", 1, gate={"timeout": "5s", "min_ready": "1h"})
    stage.machine.write(f"/etc/deployd/apps/{QUEUE}.toml", settings)
    with stage.machine.popen(["deployd", "apply", QUEUE], stderr=subprocess.PIPE) as applied:
        yield
        _, said = applied.communicate(timeout=DEADLINE)
    reason = "instance 1 sent READY=1 but has never accepted a connection, although clients have waited"
    assert reason in " ".join(said.split()), said


def test_a_process_without_the_listener_does_not_count_as_ready(stage: Stage) -> None:
    stage.deploy("v1", instances=2, routing="shared")
    with queue_fails(stage):
        before = stage.invocations()
        files = {"elsewhere.py": ELSEWHERE, "worker.py": WORKER}

        stage.configure(exec=["/usr/bin/python3", "elsewhere.py"])
        ended = stage.rollout(stage.release("v2", files=files))
        assert (ended.status, ended.result) == (1, "rolled-back"), ended
        assert ended.reason == (
            "instance 3 sent READY=1 but listens on 127.0.0.1:8000 and not on the socket that systemd passes to it"
            f"; {OTHER_LISTENER}"
        )
        assert stage.history()[0]["failure"]["gate"] == "listener"
        assert stage.invocations() == before

        stage.configure(exec=["/usr/bin/python3", "worker.py"])
        ended = stage.rollout(stage.release("v3", files=files))
        assert (ended.status, ended.result) == (0, "succeeded"), ended
        first = min(stage.invocations())
        worker = int(stage.machine.path(f"/run/worker-{first}").read_text())
        stage.machine.run(["kill", "-KILL", str(worker)])
        stage.machine.wait_for(lambda: stage.status()["ready"] == 1)
        (lost,) = [item for item in stage.status()["instances"] if not item["ready"]]
        assert (lost["instance"], lost["state"]) == (first, "unreachable")
        assert lost["detail"] == "has closed the socket that systemd passes to it"
        said = [entry["MESSAGE"] for entry in stage.journal.entries() if entry.get("DEPLOYD_APP") == APP]
        assert any(f"instance {first} has closed the socket" in line for line in said), said
        assert stage.show(lost["unit"], "ActiveState")["ActiveState"] == "active"
