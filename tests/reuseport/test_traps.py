"""Traps of the kernel: SO_REUSEPORT, its programs and their arrays. docs/traps.md says what follows from each."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator

import pytest

from deployd.errors import SteeringError
from deployd.reuseport import loading, program, syscalls
from deployd.reuseport.listeners import detach, share_ports
from tests.reuseport.sockets import TIMEOUT, ground, one_cpu, steering, weighted


@pytest.fixture(autouse=True)
def _on_one_cpu() -> Iterator[None]:
    with one_cpu():
        yield


def test_a_program_goes_with_the_last_listener_of_its_group() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({1: 1}, []))
        app.sync(place.listeners())
        assert {place.chosen() for _ in range(50)} == {1}
        place.close(1)
        place.close(2)
        place.open(1, 2)
        assert {place.chosen() for _ in range(50)} == {1, 2}, "the kernel hashes"


def test_a_listener_can_be_in_one_array_only() -> None:
    with ground("127.0.0.1", [1, 2]) as place, steering() as first, steering() as second:
        assert first.sync(place.listeners()) == set()
        assert second.sync(place.listeners()) == {1, 2}, "left out"


@pytest.mark.parametrize("migrate", [True, False])
def test_without_migration_the_queue_of_a_closed_listener_is_reset(
    monkeypatch: pytest.MonkeyPatch, migrate: bool
) -> None:
    """As before Linux 5.14, which knows no BPF_SK_REUSEPORT_SELECT_OR_MIGRATE."""
    bpf = syscalls.bpf

    def older(command: int, attributes: ctypes.Structure) -> int:
        if command == loading.PROG_LOAD and attributes.attach_type == program.SELECT_OR_MIGRATE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return bpf(command, attributes)

    if not migrate:
        monkeypatch.setattr(syscalls, "bpf", older)
    with ground("127.0.0.1", [1, 2]) as place, steering() as app:
        app.set(weighted({1: 1}, [2]))
        app.sync(place.listeners())
        client = place.connect()
        place.close(1)
        if migrate:
            assert place.accepted() == 2
        else:
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_a_duplicate_keeps_a_closed_listener_in_its_group() -> None:
    """Half of the connections go where no process accepts them, so descriptors of listeners are not kept."""
    with ground("127.0.0.1", [1, 2]) as place:
        kept = place.sockets[1].dup()
        place.close(1)
        clients = [place.connect() for _ in range(50)]
        with kept:
            kept.settimeout(TIMEOUT)
            kept.accept()[0].close()
        assert 0 < place.waiting()[2] < len(clients)


def test_a_listener_without_reuseport_can_be_steered_once_another_one_has_joined_it() -> None:
    with ground("127.0.0.1") as place, steering() as app:
        place.open(1, shares=False)
        with pytest.raises(OSError, match="in use"):
            place.open(2)
        inode = os.fstat(place.sockets[1].fileno()).st_ino
        share_ports([inode], os.getpid())
        with pytest.raises(SteeringError, match="attach"):
            app.sync(place.listeners())
        place.open(2)
        app.set(weighted({1: 1}, []))
        app.sync(place.listeners())
        assert {place.chosen() for _ in range(50)} == {1}
        app.set(weighted({2: 1}, []))
        assert {place.chosen() for _ in range(50)} == {2}
        place.close(2)
        assert place.chosen() == 1
        app.set(weighted({1: 1}, []))
        detach([inode], os.getpid())
        place.open(2)
        assert {place.chosen() for _ in range(50)} == {1, 2}, "the kernel hashes"
