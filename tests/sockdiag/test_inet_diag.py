"""TCP sockets as the kernel reports them: listeners, queues, handshakes. sock_diag needs no privilege."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack

import pytest

from deployd.errors import SteeringError
from deployd.sockdiag import netlink
from deployd.sockdiag.inet_diag import Diag
from tests.reuseport.sockets import ground, open_files

HOSTS = [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1")]


@pytest.mark.parametrize(("host", "to"), HOSTS)
def test_a_listener_is_reported_with_its_queue(host: str, to: str) -> None:
    with ground(host, [1, 2]) as place:
        for _ in range(3):
            place.connect(to)
        found = [place.listeners_of(number)[0] for number in (1, 2)]
        assert sum(one.queue for one in found) == 3
        for one in found:
            assert (one.address, one.port, one.limit) == (host, place.port, 512)
            assert one.family == (socket.AF_INET6 if ":" in host else socket.AF_INET)
            assert one.v6only == (host == "::1")
        assert found[0].cookie != found[1].cookie


def test_ipv6_only_is_reported() -> None:
    with ground("::", [1], v6only=True) as place:
        assert place.listeners_of(1)[0].v6only


def test_all_listeners_are_reported_without_a_port() -> None:
    with ground("127.0.0.1", [1]) as four, ground("::1", [1]) as six:
        found = Diag().listeners()
        assert {four.listeners_of(1)[0], six.listeners_of(1)[0]} <= set(found)


def test_a_response_of_many_packets_is_read_to_its_end() -> None:
    with ground("127.0.0.1", range(1, 900)) as place:
        assert len(place.all_listeners()) == 899


@pytest.mark.parametrize(("host", "to"), HOSTS)
def test_half_open_handshakes_are_reported(host: str, to: str) -> None:
    with ground(host, [1]) as place, ground(host, [1]) as other:
        # With this option the kernel treats a handshake as half open until data arrives.
        place.sockets[1].setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
        clients = [place.connect(to) for _ in range(3)]
        other.connect(to)
        address = f"::ffff:{to}" if host == "::" and to == "127.0.0.1" else to
        expected = {(address, place.port, address, client.getsockname()[1]) for client in clients}
        assert Diag().half_open([place.port, other.port]) == expected
        assert Diag().half_open([]) == frozenset()


def test_an_error_of_the_kernel_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "_BY_FAMILY", 99)
    with pytest.raises(SteeringError, match="cannot request the sockets of the kernel"):
        Diag().listeners()


def test_a_request_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "_BY_FAMILY", 1)  # NLMSG_NOOP
    with pytest.raises(SteeringError, match=r"cannot request the sockets of the kernel \(sock_diag\): timed out"):
        Diag(0.05).listeners()


def test_the_connections_of_many_cgroups_are_requested_at_once() -> None:
    with ExitStack() as held:
        place = held.enter_context(ground("127.0.0.1", [1]))
        ours = place.listeners_of(1)[0].cgroup
        place.connect()
        place.connect()
        wanted = [*range(2**40, 2**40 + 1023), ours]
        found = Diag().connections(wanted)
        assert found.keys() == set(wanted)
        assert found[ours] >= 4  # the clients' sockets are in our cgroup, too, and others may be
        assert not any(found[cgroup] for cgroup in wanted[:-1])


TICK = 0.05
"""Seconds that are more than one tick of the kernel, in which it notes these times (10 ms, or less)."""


def test_the_times_of_the_last_data_are_reported() -> None:
    with ground("127.0.0.1", [1]) as place:
        client = place.connect()
        cgroup = place.listeners_of(1)[0].cgroup
        server, _ = place.sockets[1].accept()
        with server:
            inode = os.fstat(server.fileno()).st_ino
            time.sleep(TICK)  # the handshake counts as sent
            client.sendall(b"request")
            assert Diag().traffic([cgroup])[inode].queued
            assert server.recv(16) == b"request"
            time.sleep(TICK)
            assert Diag().traffic([cgroup])[inode].received < Diag().traffic([cgroup])[inode].sent
            server.sendall(b"response")
            assert client.recv(16) == b"response"
            found = Diag().traffic([cgroup])[inode]
            assert found.sent < found.received
    assert Diag().traffic([]) == {}


def test_unread_data_is_reported_with_its_age_whether_the_connection_was_accepted_or_not() -> None:
    with ground("127.0.0.1", [1]) as place:
        ours = place.listeners_of(1)[0].cgroup
        before = len(Diag().unread([ours])[ours])
        silent, accepted, waiting, read, ended = (place.connect() for _ in range(5))
        with place.sockets[1] as listener, ExitStack() as held:
            several = [held.enter_context(listener.accept()[0]) for _ in range(2)]
            for client in (accepted, waiting, read):
                client.sendall(b"GET /")
            assert several[0].getpeername() == silent.getsockname()
            listener.setblocking(True)
            held.enter_context(listener.accept()[0])  # waiting, which is unread all the same
            third = held.enter_context(listener.accept()[0])
            assert third.recv(100) == b"GET /"
            ended.shutdown(socket.SHUT_WR)  # the end of the data is no data
            ages = Diag().unread([ours])[ours]
    # Other tests that run at the same time are in the same cgroup.
    after = len(Diag().unread([ours])[ours])
    assert 2 in {len(ages) - before, len(ages) - after}
    assert all(0 <= age < 60 for age in ages)
    assert Diag().unread([]) == {}


def test_no_descriptor_is_left_open() -> None:
    before = open_files()
    Diag().listeners()
    assert open_files() == before
