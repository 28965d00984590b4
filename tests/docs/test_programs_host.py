"""The programs of README.md do what it says: they take the socket, say READY=1, and lose no request when they stop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.docs import readme
from tests.host.stage import PORT, RELEASES, Stage

ESTABLISHED = "01"
"""TCP_ESTABLISHED as /proc/net/tcp has it."""
SETTINGS: dict[str, dict[str, Any]] = {"js": {"service": {"NotifyAccess": "all"}}}
"""What README.md says that the app file needs, with a user other than root."""


def release(stage: Stage, version: str, language: str) -> str:
    """Write a release with the program. Go's is compiled there: with gccgo, which Debian has in half the size of go."""
    path = f"{RELEASES}/{version}"
    source = f"{path}/{readme.FILES[language]}"
    stage.machine.write(source, readme.program(language))
    if language == "go":
        stage.machine.run(["gccgo", "-o", f"{path}/app", source])
    return path


def fetch(stage: Stage) -> str:
    """Return the body of one response."""
    with stage.machine.connect(("127.0.0.1", PORT)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.sampled
@pytest.mark.parametrize("language", readme.FILES)
def test_a_rollout_under_load_fails_no_request(stage: Stage, language: str) -> None:
    argv = json.loads(readme.exec_of(language))
    settings = {"exec": argv, "user": "www-data", **SETTINGS.get(language, {})}
    stage.configure(release=release(stage, "v1", language), **settings)
    ended = stage.change("apply")
    assert ended.result == "succeeded", ended
    assert fetch(stage) == "hello from /srv/demo/v1\n"

    with stage.load(rate=200, keepalive=8) as load:
        ended = stage.rollout(release(stage, "v2", language))
        record = load.stop()
    assert ended.result == "succeeded", ended
    assert not record.failed, record.by_outcome()
    assert fetch(stage) == "hello from /srv/demo/v2\n"
    assert {ran.generation for ran in stage.invocations().values()} == {2}


@pytest.mark.thorough
@pytest.mark.parametrize("language", readme.FILES)
def test_a_request_is_finished_after_sigterm(stage: Stage, language: str) -> None:
    """One that was accepted and has not arrived whole when the signal comes. Then the program exits with success."""
    settings = {"exec": json.loads(readme.exec_of(language)), **SETTINGS.get(language, {})}
    stage.configure(release=release(stage, "v1", language), instances=1, **settings)
    assert stage.change("apply").result == "succeeded"
    with stage.machine.connect(("127.0.0.1", PORT)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\n")
        stage.machine.wait_for(lambda: accepted(stage), what="an instance that has accepted the connection")
        stage.machine.run(["systemctl", "stop", "--no-block", "demo@1.service"])
        stage.machine.wait_unit("demo@1.service", "deactivating")
        connection.sendall(b"Connection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.partition(b"\r\n\r\n")[2].endswith(b"hello from /srv/demo/v1\n"), answer
    stage.machine.wait_unit("demo@1.service", "inactive")
    assert stage.show("demo@1.service", "Result")["Result"] == "success"


def accepted(stage: Stage) -> bool:
    """Whether a process has a connection to the app's port: one that waits in the queue has inode 0."""
    proc = stage.machine.path(f"/proc/{stage.pid(1)}/net/tcp")
    rows = [line.split() for line in proc.read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{PORT:04X}") and row[3] == ESTABLISHED and row[9] != "0" for row in rows)
