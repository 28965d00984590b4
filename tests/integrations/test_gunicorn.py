"""gunicorn.conf.py: READY=1 means that all workers serve, and a worker that does not fails the start at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.host.root import HostRoot
from tests.integrations.activated import INTEGRATIONS, Activated, ask
from tests.servers.packages import python_packages

APP = """\
import time
open("loading", "w").close()
time.sleep({boot})
{fault}
def app(environ, start_response):
    start_response({status!r}, [("Content-Length", "2")])
    return [b"ok"]
{after}
"""
BOOT_ERRORS = {1, 3}
"""Exit statuses of gunicorn: 3 for "Worker failed to boot.", but 1 from Debian's 20.1 if the second worker ends while
the arbiter halts because of the first."""


def gunicorn(
    directory: Path,
    *options: str,
    boot: float = 0.3,
    fault: str = "",
    status: str = "200 OK",
    after: str = "",
    check: str = "",
) -> Activated:
    (directory / "app.py").write_text(APP.format(boot=boot, fault=fault, status=status, after=after))
    argv = ["/usr/bin/gunicorn", "--config", INTEGRATIONS / "gunicorn.conf.py", "--workers", "2", *options, "app:app"]
    return Activated.start(argv, directory, {"DEPLOYD_CHECK": check})


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_ready_is_said_once_when_all_workers_have_loaded(tmp_path: Path, worker: str) -> None:
    with gunicorn(tmp_path, "--worker-class", worker) as server:
        assert server.said(within=0.25) == "", "before the application was imported"
        assert server.said() == "READY=1\nSTATUS=2 workers serve"
        with server.connect() as connection:
            assert b" 200 ok" in ask(connection)
        status, output = server.stop()
        assert server.said(within=0.1) == ""
    assert status == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("import os; os._exit(0)", "A worker ended before all had loaded the application."),
        ("import os; os.kill(os.getpid(), 9)", "A worker ended before all had loaded the application."),
    ],
)
def test_a_worker_that_ends_early_fails_the_start(tmp_path: Path, fault: str, message: str) -> None:
    with gunicorn(tmp_path, fault=fault) as server:
        assert server.said() == ""
        status, output = server.end()
    assert status in BOOT_ERRORS, output
    assert message in output


def test_it_stops_at_once_while_its_workers_load(tmp_path: Path) -> None:
    with gunicorn(tmp_path, boot=60) as server:
        while not (tmp_path / "loading").exists():
            assert server.said(within=0.05) == ""
        began = time.monotonic()
        status, output = server.stop()
        assert time.monotonic() - began < 15, "it has waited for the graceful timeout"
    assert status == 0, output
    assert "Traceback" not in output


def test_a_request_in_flight_is_finished(tmp_path: Path) -> None:
    after = """
def app(environ, start_response):
    time.sleep(3)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
    with gunicorn(tmp_path, after=after) as server:
        assert "READY=1" in server.said()
        with server.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")
            time.sleep(0.5)
            server.process.terminate()
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert server.end()[0] == 0


def test_a_client_that_does_not_close_keeps_no_other_waiting(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.format(boot=0, fault="", status="200 OK", after=""))
    argv = ["/usr/bin/python3", "-m", "gunicorn", "--config", INTEGRATIONS / "gunicorn.conf.py"]
    current = {"PYTHONPATH": str(python_packages(HostRoot.native()))}
    with Activated.start([*argv, "--worker-class", "gthread", "app:app"], tmp_path, current) as server:
        assert "READY=1" in server.said()
        with server.connect() as kept, server.connect() as last:
            ask(kept)
            last.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            assert last.recv(4096).startswith(b"HTTP/1.1 200 OK")
            time.sleep(0.5)  # gunicorn itself waits for `last` to close by now, for longer than it keeps `kept`
            assert b" 200 ok" in ask(kept)
        assert server.stop()[0] == 0


ASGI_APP = """\
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""
OWN_WORKER = """\
from uvicorn_worker import UvicornWorker
class Worker(UvicornWorker):
    CONFIG_KWARGS = {"lifespan": "off"}
"""


@pytest.mark.parametrize("worker", ["uvicorn_worker.UvicornWorker", "own.Worker"])
def test_clients_of_a_worker_of_uvicorn_are_asked_to_leave(tmp_path: Path, worker: str) -> None:
    (tmp_path / "app.py").write_text(ASGI_APP)
    (tmp_path / "own.py").write_text(OWN_WORKER)
    argv = ["/usr/bin/python3", "-m", "gunicorn", "--config", INTEGRATIONS / "gunicorn.conf.py"]
    current = {"PYTHONPATH": str(python_packages(HostRoot.native()))}
    with Activated.start([*argv, "--worker-class", worker, "app:app"], tmp_path, current) as server:
        assert "READY=1" in server.said()
        with server.connect() as kept:
            ask(kept)
            server.process.terminate()
            while b"connection: close" not in ask(kept):  # uvicorn itself would close it
                pass
        status, output = server.end()
    assert status == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize("check", ["/_status", "https://www.example.com/_status?deep=no"])
def test_a_request_in_the_process_may_be_part_of_it(tmp_path: Path, check: str) -> None:
    host = "'www.example.com'" if check[0] == "h" else "'127.0.0.1'"
    after = f"""
def app(environ, start_response):
    assert environ["PATH_INFO"] == "/_status"
    assert environ["HTTP_HOST"] == {host}
    start_response("204 No Content", [])
    return []
"""
    with gunicorn(tmp_path, check=check, after=after) as server:
        assert "READY=1" in server.said()
        assert server.stop()[0] == 0
    with gunicorn(tmp_path, check=check, status="500 No") as server:
        assert server.said() == ""
        status, output = server.end()
    assert status in BOOT_ERRORS, output
    assert f"DEPLOYD_CHECK: GET {check} was answered with 500 No" in output


def test_the_releases_own_file_remains_in_force(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "workers = 3\n"
        "def when_ready(server):\n    print('own hook', server.cfg.keepalive, flush=True)\n"
        "def post_worker_init(worker):\n    print('own worker', flush=True)\n"
    )
    (tmp_path / "app.py").write_text(APP.format(boot=0, fault="", status="200 OK", after=""))
    argv = ["/usr/bin/gunicorn", "-c", INTEGRATIONS / "gunicorn.conf.py", "-k", "gthread", "app:app"]
    with Activated.start(argv, tmp_path) as server:
        assert server.said() == "READY=1\nSTATUS=3 workers serve"
        _, output = server.stop()
    assert "own hook 0" in output
    assert output.count("own worker") == 3
