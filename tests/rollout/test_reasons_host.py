"""The reason of a failure is what systemd says of it: a control process, READY=1 from a child, a missing file."""

from __future__ import annotations

import pytest

from tests.host.stage import PORT, Stage

WRAPPER = "#!/bin/sh\n/usr/bin/python3 ready.py\nsleep 600\n"
DEAF = "#!/bin/sh\ntrap '' TERM\n/usr/bin/python3 ready.py\nsleep 600 & wait\n"
SERVICE = {"NotifyAccess": "all"}
READY = """\
import os, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
notify.send(b"READY=1")
done, barrier = os.pipe()
socket.send_fds(notify, [b"BARRIER=1"], [barrier])
os.close(barrier)
os.read(done, 1)
"""
"""systemd cannot tell to which unit a sender that has exited belonged, so it waits as sd_notify_barrier(3) does."""
BINDS = "import socket\nsocket.create_server(('127.0.0.1', {port}))\n"


def test_systemd_s_own_words_are_the_reason(stage: Stage) -> None:
    gate = {"timeout": "60s"}
    stage.deploy("v1", instances=1, gate=gate)

    stage.configure(service={"ExecStartPost": "/bin/sh -c 'echo no database >&2; exit 7'"})
    ended = stage.change("apply")
    command = "ExecStartPost= (/bin/sh -c 'echo no database >&2; exit 7') exited with status 7"
    assert ended.reason == f"instance 2 failed before it was ready: {command}"
    failure = stage.history()[0]["failure"]
    assert failure["exit_status"] == 7
    assert "no database" in failure["journal"]

    stage.configure(service={"ReadWritePaths": "/srv/demo/missing"})
    ended = stage.change("apply")
    assert "instance 2 exited with status 226/NAMESPACE before it was ready: " in ended.reason
    assert "/srv/demo/missing: No such file or directory" in ended.reason

    stage.configure(service={})
    ended = stage.rollout(with_program(stage, "v2", BINDS.format(port=PORT)))
    assert f"; systemd holds 127.0.0.1:{PORT} for the app: " in ended.reason
    assert stage.history()[0]["failure"]["exit_status"] == 1

    stage.configure(exec=["bin/start"], gate={"timeout": "2s"}, service={"NotifyAccess": "main"})
    ended = stage.rollout(stage.release("v3", files={"bin/start": WRAPPER, "ready.py": READY}))
    assert "reception only permitted for main PID" in ended.reason
    assert 'set NotifyAccess = "all" in [service]' in ended.reason
    assert stage.status()["ready"] == 1


@pytest.mark.thorough
def test_an_instance_that_had_to_be_killed_is_reported(stage: Stage) -> None:
    deaf = stage.release("v1", files={"bin/start": DEAF, "ready.py": READY})
    stage.configure(release=deaf, instances=1, exec=["bin/start"], stop={"timeout": "1s"}, service=SERVICE)
    assert stage.change("apply").result == "succeeded"
    release = stage.release("v2", files={"bin/start": WRAPPER, "ready.py": READY})
    with stage.begin("rollout", "--release", release) as begun:
        reason = begun.until("warning")["reason"]
        ended = begun.end()
    assert reason.startswith("instance 1 did not end within 1 s after SIGTERM and was killed; raise [stop] timeout, ")
    assert ended.result == "succeeded"
    assert ended.reason == stage.history()[0]["reason"] == stage.status()["reason"] == reason


def with_program(stage: Stage, version: str, program: str) -> str:
    """Write a release with another program in place of the demo application; return its path."""
    path = stage.release(version)
    stage.machine.write(f"{path}/app.py", program)
    return path
