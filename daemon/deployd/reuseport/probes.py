"""Connections of the daemon that reach a certain instance, whatever its weight, at an address that others share.

The daemon binds a socket to 127.0.0.1 or ::1, notes its port in the map PROBES with the number of the instance, and
connects. The program gives a connection from this address and port to that instance, or refuses it. No other user can
ask for an instance: the port is taken until the daemon has removed the entry, and packets from outside never have the
address of the loopback device. An entry that a killed daemon leaves has no effect after its time, and the next daemon
removes it. Such connections are not counted.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from deployd.errors import SteeringError, steering_errors
from deployd.reuseport.group import Address
from deployd.reuseport.maps import IPV4, IPV6, Map
from deployd.reuseport.slots import SECOND

_VALUE = struct.Struct("=QQ")
_LOCALHOST: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_ANY = {"0.0.0.0", "::"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Aimed:
    """A socket that is about to be connected."""

    socket: socket.socket
    """Bound, and not blocking."""
    target: tuple[str, int]


def new(family: int) -> socket.socket:
    """Return a TCP socket that does not block."""
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


Make = Callable[[int], socket.socket]
"""An address family to a TCP socket that is neither bound nor connected, and does not block."""


class Probes:
    """Owns nothing: `entries` is the map PROBES."""

    def __init__(self, entries: Map) -> None:
        self._entries = entries

    def forget(self) -> None:
        """Remove what an earlier daemon left. Raises SteeringError."""
        with steering_errors("write the kernel's map of probes"):
            for key in [key for key, _ in self._entries.items()]:
                self._entries.discard(key)

    @contextmanager
    def aim(self, instance: int, address: Address, timeout: float, make: Make = new) -> Iterator[Aimed]:
        """Yield a socket whose connection will reach this instance if it is made within `timeout` seconds. The socket
        is closed at the end. Raises SteeringError, and what `make` raises."""
        with _bound(address, make) as (bound, target):
            port = int.from_bytes(bound.getsockname()[1].to_bytes(2, "big"), sys.byteorder)
            key = (IPV4 if bound.family == socket.AF_INET else IPV6) | port
            until = time.monotonic_ns() + int(timeout * SECOND)
            with steering_errors("write the kernel's map of probes"):
                self._entries[key] = _VALUE.pack(instance, until)
            try:
                yield Aimed(bound, target)
            finally:
                # Before the port is free for others.
                with suppress(OSError):
                    self._entries.discard(key)


@contextmanager
def _bound(address: Address, make: Make) -> Iterator[tuple[socket.socket, tuple[str, int]]]:
    """Yield a socket of the loopback address, and where to connect it to reach `address`."""
    # A dual-stack [::] is reached over IPv4 where IPv6 is disabled.
    families = [address.family, socket.AF_INET] if address.address == "::" else [address.family]
    for family in families:
        with make(family) as made:
            try:
                made.bind((_LOCALHOST[family], 0))
            except OSError as error:
                if family == families[-1]:
                    raise SteeringError(f"cannot use a port of {_LOCALHOST[family]}: {error.strerror}") from error
                continue
            yield made, (_LOCALHOST[family] if address.address in _ANY else address.address, address.port)
            return
