"""Connections of the daemon reach the instance that they are aimed at, and nobody else can aim. Needs CAP_BPF."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from deployd.errors import SteeringError
from deployd.reuseport import maps
from deployd.reuseport.probes import Aimed
from deployd.reuseport.steering import Steering
from tests.reuseport.sockets import TIMEOUT, Ground, equal, ground, map_of, one_cpu, steering, weighted

NOBODY = 65534


@pytest.fixture(autouse=True)
def _on_one_cpu() -> Iterator[None]:
    with one_cpu():
        yield


def connect(aimed: Aimed) -> socket.socket:
    aimed.socket.settimeout(TIMEOUT)
    aimed.socket.connect(aimed.target)
    return aimed.socket


def bound_by(user: int, address: tuple[str, int]) -> int:
    """Return 0 if this user can bind to the address, or the number of the error. Without CAP_SETUID, ask for this user.

    Nothing else differs then: root without capabilities may bind to no more than others.
    """
    child = os.fork()
    if child == 0:
        try:
            with contextlib.suppress(PermissionError):
                os.setgid(user)
                os.setuid(user)
            with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(address)
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def reached(place: Ground, app: Steering, number: int) -> int:
    with app.aim(number, TIMEOUT) as aimed:
        connect(aimed)
        return place.accepted()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "0.0.0.0", "::1", "::"])
def test_a_probe_reaches_its_instance_whatever_the_weights_are(host: str) -> None:
    with ground(host, [1, 2, 3]) as place, steering() as app:
        app.set(weighted({1: 1}, [1]))
        app.sync(place.listeners())
        assert [reached(place, app, number) for number in (3, 1, 2, 3)] == [3, 1, 2, 3]
        to = {"0.0.0.0": "127.0.0.1"}.get(host, host)
        assert Counter(place.chosen(to) for _ in range(20)) == {1: 20}, "clients are steered by weight"


def test_an_ipv6_only_group_is_reached_over_ipv6() -> None:
    with ground("::", [1, 2], v6only=True) as place, steering() as app:
        app.set(weighted({1: 1}, [1]))
        app.sync(place.listeners())
        assert reached(place, app, 2) == 2


def test_probes_are_not_counted() -> None:
    with ground("::", [1, 2]) as place, steering() as app:
        app.set(equal(1, 2))
        app.sync(place.listeners())
        for _ in range(3):
            with app.aim(2, TIMEOUT) as aimed:
                client = connect(aimed)
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                accepted = place.accept(2)
                assert accepted.recv(100)
                client.sendall(b"more")
                assert accepted.recv(100)
                assert app.loads() == {}
                accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                assert client.recv(100)
        assert app.loads() == {}
        assert app.counters() == {}
        assert [place.chosen() for _ in range(4)] == [1, 2, 1, 2]


def test_a_probe_of_an_instance_that_does_not_listen_is_refused() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(equal(1, 2, order=[1, 2]))
        app.sync(place.listeners())
        with pytest.raises(SteeringError, match="instance 3 has no listener"), app.aim(3, TIMEOUT):
            pass
        place.close(2)
        with app.aim(2, TIMEOUT) as aimed, pytest.raises(ConnectionRefusedError):
            connect(aimed)


def test_a_probe_over_ipv4_where_ipv6_has_no_loopback_address(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = socket.socket.bind

    def without_ipv6(one: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "::1":
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        bind(one, address)

    with ground("::", [1, 2]) as place, steering() as app:
        app.set(weighted({1: 1}, [1]))
        app.sync(place.listeners())
        monkeypatch.setattr(socket.socket, "bind", without_ipv6)
        assert reached(place, app, 2) == 2


@pytest.mark.privileged
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_no_other_user_can_aim(host: str) -> None:
    with ground(host, [1, 2]) as place, steering() as app:
        app.set(weighted({1: 1}, [1]))
        app.sync(place.listeners())
        with app.aim(2, TIMEOUT) as aimed:
            own, port = aimed.socket.getsockname()[:2]
            assert bound_by(NOBODY, (own, port)) == errno.EADDRINUSE
            if host == "127.0.0.1":
                with socket.create_connection((host, place.port), TIMEOUT, ("127.0.0.2", port)):
                    assert place.accepted() == 1, "the port alone is not enough"
        with socket.create_connection((host, place.port), TIMEOUT, (host, port)):
            assert place.accepted() == 1, "and later the address is that of any client"


def test_what_a_killed_daemon_has_left_has_no_effect_for_long() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({1: 1}, [1]))
        app.sync(place.listeners())
        with app.aim(2, 0.0) as aimed:
            connect(aimed)
            assert place.accepted() == 1, "its time is over"
        probes = map_of(app, "probes", maps.PROBES)
        probes[7] = bytes(16)
        with steering({name: os.dup(fd) for name, fd in app.fds.items()}):
            assert list(probes.items()) == []
        probes.close()


def test_a_probe_needs_no_capability_to_bind() -> None:
    """Neither CAP_NET_BIND_SERVICE nor CAP_NET_ADMIN: the port is one of those that all users may take."""
    script = """
import os
from tests.reuseport.sockets import ground, steering, weighted
with ground("127.0.0.1", [1, 2]) as place, steering() as app:
    app.set(weighted({1: 1}, [1]))
    app.sync(place.listeners())
    with app.aim(2, 5) as aimed:
        aimed.socket.settimeout(5)
        aimed.socket.connect(aimed.target)
        print(place.accepted())
"""

    def drop() -> None:
        prctl = ctypes.CDLL(None).prctl
        for capability in set(range(41)) - {39}:  # CAP_BPF
            prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=drop,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "2\n", done.stderr
