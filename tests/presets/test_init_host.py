"""What deployd init writes for a release is valid, serves at once, and loses no request in a rollout."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.docs import readme
from tests.host.stage import APP, PORT, RELEASES, Stage
from tests.host.steered import unharmed

INTEGRATIONS = readme.CHECKOUT / "integrations"
WSGI = """\
import os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["DEPLOYD_RELEASE"].encode()]
"""
NODE = """\
const http = require("node:http");
const app = (request, response) => response.end(process.env.DEPLOYD_RELEASE);
http.createServer(app).listen(process.env.PORT || 3000);
"""
LISTENS_AT_PORT = readme.program("python").replace(
    "server.socket = socket.socket(fileno=3)",
    'server.socket = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))',
)
LISTENS_AT_PORT = "".join(line for line in LISTENS_AT_PORT.splitlines(keepends=True) if "otify" not in line)
SHEBANG = "#!/usr/bin/python3\n"
TAKES_SOCKET = SHEBANG + "".join(
    line for line in readme.program("python").splitlines(keepends=True) if "otify" not in line.lower()
)


@dataclass(frozen=True)
class Case:
    """A release, and what init says about it."""

    preset: str
    reason: str
    files: dict[str, str]
    options: list[str] = field(default_factory=list)
    needs: str = ""
    """An integration without which it cannot start."""


CASES = [
    Case("gunicorn", "app.py has a WSGI application", {"app.py": WSGI}, needs="gunicorn.conf.py"),
    Case("gunicorn-sync", "", {"app.py": WSGI}, ["--preset", "gunicorn-sync"], "gunicorn.conf.py"),
    Case("node", "the release has package.json", {"package.json": "{}", "server.js": NODE}, needs="node_preload.js"),
    Case(
        "generic-port", "Procfile has a start command", {"Procfile": "web: python3 app.py", "app.py": LISTENS_AT_PORT}
    ),
    Case("generic-exec", "", {"bin/server": TAKES_SOCKET}, ["--preset", "generic-exec"]),
    Case("generic-notify", "", {"bin/server": SHEBANG + readme.program("python")}, ["--preset", "generic-notify"]),
]


def release(stage: Stage, version: str, files: dict[str, str]) -> str:
    for name, text in files.items():
        stage.machine.write(f"{RELEASES}/{version}/{name}", text, 0o755 if text.startswith("#!") else 0o644)
    return f"{RELEASES}/{version}"


def body(stage: Stage) -> str:
    with stage.machine.connect(("127.0.0.1", PORT)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 200 " in answer.partition(b"\r\n")[0], answer
    return answer.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.preset)
def test_init_check_apply(stage: Stage, case: Case) -> None:
    if case.needs and not (INTEGRATIONS / case.needs).is_file():
        pytest.skip(f"this checkout has no integrations/{case.needs}")
    first = release(stage, "v1", case.files)
    written = stage.deployd("init", APP, "--release", first, *case.options)
    assert written.returncode == 0, written.stderr
    assert f"demo: preset {case.preset} " in written.stderr
    assert case.reason in written.stderr

    checked = stage.deployd("check", APP)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "demo: valid\n", "")
    ended = stage.change("apply")
    assert ended.result == "succeeded", ended
    assert first in body(stage)

    second = release(stage, "v2", case.files)
    with stage.load(rate=100, keepalive=4) as load:
        ended = stage.rollout(second)
        unharmed(load.stop())
    assert ended.result == "succeeded", ended
    assert second in body(stage)


@pytest.mark.thorough
def test_a_procfile_is_the_whole_app(stage: Stage) -> None:
    said = f"{RELEASES}/said"
    stage.machine.run(["install", "-d", "-m", "777", said])
    worker = f'#!/bin/sh\necho "$1 $QUEUE $(id -un) $DEPLOYD_GENERATION" >> {said}/$1\nexec sleep 1000\n'
    files = {
        "Procfile": "web: python3 app.py\nworker: QUEUE=mail bin/work worker\nclock: cd . && bin/work clock\n"
        f"release: echo released >> {said}/release\n",
        "app.py": LISTENS_AT_PORT,
        "bin/work": worker,
    }
    assert stage.deployd("init", APP, "--release", release(stage, "v1", files)).returncode == 0
    checked = stage.deployd("check", APP)
    assert (checked.returncode, checked.stdout) == (0, "demo: valid\n"), checked
    assert stage.change("apply").result == "succeeded"
    assert stage.rollout(release(stage, "v2", files)).result == "succeeded"
    assert f"{RELEASES}/v2" in body(stage)
    assert stage.machine.read(f"{said}/release") == "released\n" * 2
    for name, line in (("worker", "worker mail www-data 2"), ("clock", "clock  www-data 2")):
        assert stage.machine.read(f"{said}/{name}").splitlines()[-1] == line
        found = stage.deployd("run", APP, "--process", name, "--", "sh", "-c", "echo $QUEUE $(id -un)")
        assert (found.returncode, found.stdout) == (0, f"{line.split(' ')[1]} www-data\n".lstrip()), found
