"""The demo application as a real process with real sockets: it loses no request, and each mode fails as documented."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.load.client import Load
from tests.load.record import Outcome
from tests.sample_apps.release import NOTIFY, app_file, make_release

CHECKOUT = Path(__file__).resolve().parents[2]
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine is shared
DEADLINE = 20.0
# What systemd does between fork and exec: the listening sockets become fd 3 and up, and LISTEN_PID is the process.
ACTIVATE = """
import os, sys
count = int(os.environ["LISTEN_FDS"])
for target, source in enumerate([os.dup(int(number)) for number in sys.argv[1 : 1 + count]], 3):
    os.dup2(source, target)
    os.set_inheritable(target, True)
os.closerange(3 + count, 256)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[1 + count :]])
"""


@dataclass(frozen=True, slots=True)
class Instance:
    """A process of the application, and its notification socket."""

    process: "subprocess.Popen[bytes]"
    notified: socket.socket

    def notification(self) -> str:
        return self.notified.recv(4096).decode()

    def term(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        return self.process.wait(DEADLINE)


class Host:
    """Starts instances on shared listening sockets, and ends them after the test."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.listeners = [self.listen()]

    def listen(self, address: tuple[str, int] | str = ("127.0.0.1", 0)) -> socket.socket:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        sock = self.stack.enter_context(socket.socket(family))
        sock.bind(address)
        sock.listen(4096)
        return sock

    @property
    def port(self) -> int:
        port: int = self.listeners[0].getsockname()[1]
        return port

    def start(
        self, release: Path, environment: Mapping[str, str] | None = None, abstract: bool = True, ready: bool = True
    ) -> Instance:
        name = uuid.uuid4().hex
        notified = self.stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notified.settimeout(DEADLINE)
        path = "@" + name if abstract else str(self.directory / name[:8])
        notified.bind("\0" + name if abstract else path)
        numbers = [sock.fileno() for sock in self.listeners]
        process = subprocess.Popen(
            [sys.executable, "-SEc", ACTIVATE, *map(str, numbers), "app.py"],
            cwd=release,
            env={"NOTIFY_SOCKET": path, "LISTEN_FDS": str(len(numbers)), **(environment or {})},
            pass_fds=numbers,
        )
        self.stack.callback(end, process)
        instance = Instance(process, notified)
        if ready:
            assert instance.notification() == "READY=1"
        return instance

    def connect(self) -> HTTPConnection:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        self.stack.callback(connection.close)
        connection.connect()
        return connection

    def raw(self) -> socket.socket:
        sock = self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
        sock.settimeout(DEADLINE)
        return sock


def end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with contextlib.ExitStack() as stack:
        yield Host(tmp_path, stack)


def get(connection: HTTPConnection, path: str = "/") -> tuple[HTTPResponse, Any]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response, json.loads(response.read())


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_response_names_its_instance(host: Host, tmp_path: Path) -> None:
    release = make_release(tmp_path / "r", "1.2.3")
    facts = {"DEPLOYD_GENERATION": "7", "DEPLOYD_INSTANCE": "2", "DEPLOYD_RELEASE": str(release)}
    instance = host.start(release, facts, abstract=False)
    response, body = get(host.connect())
    assert response.status == 200
    pid = instance.process.pid
    assert body == {"generation": 7, "release": str(release), "instance": 2, "pid": pid, "version": "1.2.3"}


def test_all_sockets_are_served(host: Host, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    host.listeners.append(host.listen(path))
    host.start(make_release(tmp_path / "r", "1"))
    assert get(host.connect(), "/_status")[0].status == 200
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 200 OK\r\n")


def test_argv_and_environment_are_returned_byte_for_byte(host: Host, tmp_path: Path) -> None:
    odd = 'a b\t"\\\n$%é\udcff='
    host.start(make_release(tmp_path / "r", "1"), {"ODD": odd})
    _, body = get(host.connect(), "/env")
    assert body["environment"]["ODD"].encode("latin-1") == os.fsencode(odd)
    assert body["argv"] == [sys.executable, "app.py"]
    assert body["cwd"] == str(tmp_path / "r")


def test_pipelined_requests_and_bodies_are_answered_in_order(host: Host, tmp_path: Path) -> None:
    host.start(make_release(tmp_path / "r", "1", handler_ms=5))
    sock = host.raw()
    sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /slow?ms=20 HTTP/1.1\r\n\r\n")
    sock.sendall(b"GET /env HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    sock.shutdown(socket.SHUT_WR)
    said = read_all(sock)
    assert said.count(b"HTTP/1.1 200 OK") == 4
    assert b'"environment"' in said.split(b"HTTP/1.1 200 OK")[3]


def test_invalid_http_gets_an_error_response(host: Host, tmp_path: Path) -> None:
    host.start(make_release(tmp_path / "r", "1"))
    sock = host.raw()
    sock.sendall(b"hello\r\n\r\n")
    assert read_all(sock).startswith(b"HTTP/1.1 400 ")


def test_the_application_is_ready_only_after_its_boot(host: Host, tmp_path: Path) -> None:
    instance = host.start(make_release(tmp_path / "r", "1", boot=60), ready=False)
    early = host.raw()
    early.sendall(b"GET / HTTP/1.0\r\n\r\n")  # waits in the kernel's queue
    instance.notified.settimeout(0.3)
    with pytest.raises(TimeoutError):
        instance.notification()
    host.start(make_release(tmp_path / "r", "1"))
    assert read_all(early).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("mode", "status"), [("crash", 3), ("exit0", 0)])
def test_a_release_that_ends_at_boot_is_never_ready(host: Host, tmp_path: Path, mode: str, status: int) -> None:
    instance = host.start(make_release(tmp_path / "r", "1", mode), ready=False)
    assert instance.ended() == status
    instance.notified.setblocking(False)
    with pytest.raises(BlockingIOError):
        instance.notification()


def test_a_release_that_hangs_is_never_ready_and_ends_on_sigterm(host: Host, tmp_path: Path) -> None:
    instance = host.start(make_release(tmp_path / "r", "1", "hang"), ready=False)
    instance.notified.settimeout(0.3)
    with pytest.raises(TimeoutError):
        instance.notification()
    instance.term()
    assert instance.ended() == -signal.SIGTERM


@pytest.mark.parametrize("mode", ["crash-after-ready", "crash-idle"])
def test_a_release_may_crash_after_it_was_ready(host: Host, tmp_path: Path, mode: str) -> None:
    assert host.start(make_release(tmp_path / "r", "1", mode), {"CRASH_AFTER": "0.05"}).ended() == 5


def test_a_release_may_respond_500_to_everything(host: Host, tmp_path: Path) -> None:
    host.start(make_release(tmp_path / "r", "1", "error500"))
    assert get(host.connect(), "/_status")[0].status == 500


def test_a_stubborn_release_outlives_sigterm(host: Host, tmp_path: Path) -> None:
    instance = host.start(make_release(tmp_path / "r", "1", "stubborn"))
    instance.term()
    assert get(host.connect())[0].status == 200


def test_sockets_for_another_process_are_not_used(tmp_path: Path) -> None:
    release = make_release(tmp_path / "r", "1")
    for environment in ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {}):
        done = subprocess.run(
            [sys.executable, "app.py"], cwd=release, env=environment, capture_output=True, check=False, text=True
        )
        assert done.returncode == 1
        assert "LISTEN_" in done.stderr


def test_on_sigterm_a_request_in_progress_is_finished(host: Host, tmp_path: Path) -> None:
    instance = host.start(make_release(tmp_path / "r", "1"))
    connection = host.connect()
    assert get(connection)[0].status == 200  # so the connection has been accepted
    connection.request("GET", "/slow?ms=300")
    instance.term()
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["Connection"] == "close"
    response.read()
    assert instance.ended() == 0


def test_a_request_on_an_idle_connection_after_sigterm_is_answered_with_close(host: Host, tmp_path: Path) -> None:
    instance = host.start(make_release(tmp_path / "r", "1"), {"GRACE": "600"})
    connection = host.connect()
    assert get(connection)[0].headers["Connection"] == "keep-alive"
    instance.term()
    assert instance.notification() == "STOPPING=1"
    response, _ = get(connection)
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert instance.ended() == 0


def test_a_silent_connection_is_closed_after_the_grace_period(host: Host, tmp_path: Path) -> None:
    instance = host.start(make_release(tmp_path / "r", "1"), {"GRACE": "0.1"})
    silent = host.raw()
    assert get(host.connect())[0].status == 200
    instance.term()
    assert silent.recv(1) == b""
    assert instance.ended() == 0


def test_after_sigterm_no_connection_is_accepted(host: Host, tmp_path: Path) -> None:
    release = make_release(tmp_path / "r", "1")
    old = host.start(release, {"GRACE": "600"})
    held = host.connect()
    get(held)
    old.term()
    assert old.notification() == "STOPPING=1"
    late = host.connect()
    late.request("GET", "/")
    new = host.start(release)
    assert json.loads(late.getresponse().read())["pid"] == new.process.pid
    held.close()
    assert old.ended() == 0


def test_replacing_instances_one_by_one_under_load_loses_no_request(host: Host, tmp_path: Path) -> None:
    release = make_release(tmp_path / "r", "1", handler_ms=5)
    running = [host.start(release) for _ in range(2)]
    with Load.start(
        subprocess.Popen, host.port, 200, 8, options=["--think", "0.02"], python=sys.executable, cwd=CHECKOUT
    ) as load:
        for _ in range(10):
            for position, old in enumerate(running):
                running[position] = host.start(release)
                old.term()
                assert old.ended() == 0
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert len({request.pid for request in record.requests}) > 10
    assert record.facts["idle_closes"] == 0


def test_a_release_that_stops_abruptly_loses_requests(host: Host, tmp_path: Path) -> None:
    """A control of the test above: failures are detected."""
    good, bad = (make_release(tmp_path / mode, "1", mode, handler_ms=100) for mode in ("good", "abrupt"))
    old = host.start(bad)
    with Load.start(subprocess.Popen, host.port, 200, 2, cwd=CHECKOUT) as load:
        host.start(good)
        old.term()
        assert old.ended() == -signal.SIGTERM
        load.mark("gone")
        record = load.stop()
    lost = set(record.by_outcome()) - {Outcome.OK}
    assert lost
    assert lost <= {Outcome.EOF, Outcome.RESET}


def test_the_notify_service_is_ready_at_once_and_ends_on_sigterm() -> None:
    name = uuid.uuid4().hex
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.settimeout(DEADLINE)
        notified.bind("\0" + name)
        process = subprocess.Popen([sys.executable, NOTIFY], env={"NOTIFY_SOCKET": "@" + name})
        try:
            assert notified.recv(100) == b"READY=1"
            process.terminate()
            assert process.wait(DEADLINE) == -signal.SIGTERM
        finally:
            end(process)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@UNHURRIED
@given(
    environment=st.dictionaries(NAMES, VALUES, max_size=3),
    gate=st.dictionaries(NAMES, VALUES, max_size=3),
    user=st.none() | NAMES,
)
def test_an_app_file_has_the_given_keys(environment: dict[str, Any], gate: dict[str, Any], user: str | None) -> None:
    text = app_file("demo", Path("/srv/demo"), 8080, environment=environment, gate=gate, user=user, instances=2)
    expected = {
        "release": "/srv/demo",
        "exec": ["/usr/bin/python3", "app.py"],
        "listen": ["127.0.0.1:8080"],
        "instances": 2,
        "environment": environment,
        "gate": gate,
        "routing": "shared",
        "rollout": {"watch": "0"},
    }
    assert tomllib.loads(text) == expected | ({} if user is None else {"user": user})


def test_a_release_has_the_given_files(tmp_path: Path) -> None:
    release = make_release(tmp_path / "r", "9", "hang", 1.5, files={"bin/migrate": "#!/bin/sh", "grace": "1"})
    assert (release / "boot").read_text() == "1.5\n"
    assert os.access(release / "bin/migrate", os.X_OK)
    assert not os.access(release / "grace", os.X_OK)
