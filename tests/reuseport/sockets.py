"""Listeners of one address in this process, and which of them gets the connections that are made to it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from deployd.model.steering import Group
from deployd.reuseport import counting
from deployd.reuseport.maps import CURSORS, Map, Shape, possible_cpus
from deployd.reuseport.steering import Steering
from deployd.reuseport.table import Table
from deployd.sockdiag.inet_diag import Diag, Listener

TIMEOUT = 10.0


class Ground:
    """Numbered listeners on one address, which are steered as if this process was systemd."""

    def __init__(self, host: str, held: ExitStack, *, v6only: bool = False) -> None:
        self.host = host
        self.port = 0
        self.sockets: dict[int, socket.socket] = {}
        self._held = held
        self._v6only = v6only

    def open(self, *numbers: int, shares: bool = True) -> None:
        for number in numbers:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            listener = self._held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self._v6only)
            listener.bind((self.host, self.port))
            listener.listen(512)
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            self.sockets[number] = listener

    def close(self, number: int) -> None:
        self.sockets.pop(number).close()

    def listeners(self) -> dict[int, list[Listener]]:
        """Return the listeners as the kernel reports them."""
        return {number: self.listeners_of(number) for number in self.sockets}

    def listeners_of(self, number: int) -> list[Listener]:
        return [self.all_listeners()[os.fstat(self.sockets[number].fileno()).st_ino]]

    def all_listeners(self) -> dict[int, Listener]:
        """Return all that listen on the port, by inode."""
        return {one.inode: one for one in Diag().listeners(self.port)}

    def connect(self, to: str | None = None) -> socket.socket:
        """Return a connection that is not accepted."""
        return self._held.enter_context(socket.create_connection((to or self.host, self.port), TIMEOUT))

    def chosen(self, to: str | None = None) -> int:
        """Connect once, and return the listener that got the connection."""
        with socket.create_connection((to or self.host, self.port), TIMEOUT):
            return self.accepted()

    def accepted(self) -> int:
        """Accept and close the connection that waits, and return its listener."""
        readable, _, _ = select.select(self.sockets.values(), [], [], TIMEOUT)
        assert len(readable) == 1, f"{len(readable)} listeners have a connection"
        readable[0].accept()[0].close()
        return next(number for number, one in self.sockets.items() if one is readable[0])

    def accept(self, number: int) -> socket.socket:
        """Accept the connection that waits longest at a listener."""
        assert select.select([self.sockets[number]], [], [], TIMEOUT)[0], f"no connection waits at listener {number}"
        accepted = self._held.enter_context(self.sockets[number].accept()[0])
        accepted.settimeout(TIMEOUT)
        return accepted

    def waiting(self) -> dict[int, int]:
        """Accept and close all connections that wait, and return their number by listener."""
        return {number: sum(1 for _ in _accepted(one)) for number, one in self.sockets.items()}


def _accepted(listener: socket.socket) -> Iterator[None]:
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            yield


@contextmanager
def ground(host: str = "127.0.0.1", numbers: Collection[int] = (), *, v6only: bool = False) -> Iterator[Ground]:
    """Yield listeners with these numbers, which are closed at the end with all their connections."""
    with ExitStack() as held:
        made = Ground(host, held, v6only=v6only)
        made.open(*numbers)
        yield made


@contextmanager
def steering(fds: dict[str, int] | None = None) -> Iterator[Steering]:
    """Yield the steering of the app "shop" among sockets of this process."""
    made = Steering("shop", fds, os.getpid())
    try:
        yield made
    finally:
        made.close()


def weighted(weights: Mapping[int, float], order: Sequence[int]) -> Table:
    """Return the table in which each instance is a group of its own."""
    return Table.of([Group(((number, 0),), weight) for number, weight in weights.items()], order)


def equal(*numbers: int, order: Sequence[int] = ()) -> Table:
    """Return the table in which these instances are one group without ranks."""
    return Table.of([Group(tuple((number, 0) for number in numbers), 1)], order)


def set_cursor(steering: Steering, cursor: int) -> None:
    """Make this the number of the next connection on every CPU."""
    cursors = map_of(steering, "cursors", CURSORS)
    cursors[0] = struct.pack("=Q", cursor) * possible_cpus()
    cursors.close()


def map_of(steering: Steering, label: str, shape: Shape) -> Map:
    """Return one of its maps, with a descriptor of its own."""
    found = Map.adopt(os.dup(fd_of(steering, label)), shape)
    assert found
    return found


def fd_of(steering: Steering, label: str) -> int:
    """Return the descriptor of one of its maps."""
    return next(fd for name, fd in steering.fds.items() if name.startswith(f"shop.{label}-"))


@contextmanager
def uncounted() -> Iterator[None]:
    """Have the kernel refuse the filter that counts."""
    with mock.patch.object(counting, "load", side_effect=PermissionError(errno.EPERM, os.strerror(errno.EPERM))):
        yield


@contextmanager
def one_cpu() -> Iterator[None]:
    """Run on one CPU, together with the kernel's side of the loopback connections of this thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def open_files() -> set[str]:
    """Return the descriptors of this process with what each of them is."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            found.add(f"{path.name} {path.readlink()}")
    return found


def stored(app: Steering) -> dict[str, int]:
    """Return what systemd passes to the next daemon."""
    return {name: os.dup(fd) for name, fd in app.fds.items()}
