"""Segments of connections that the kernel has forgotten reach a listener too: they are no connections."""

from __future__ import annotations

import socket
import struct

import pytest

from tests.reuseport.sockets import Ground, equal, ground, steering

FIN, SYN, RST, ACK = 1, 2, 4, 16
LOOPBACK = socket.inet_aton("127.0.0.1")


def send(place: Ground, flags: int, source: int) -> None:
    """Send a segment without data to the address of the listeners, from a port that nothing uses."""
    header = struct.pack("!HHIIBBHHH", source, place.port, 1, 1, 5 << 4, flags, 1024, 0, 0)
    pseudo = LOOPBACK + LOOPBACK + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header))
    total = sum(struct.unpack(f"!{len(pseudo + header) // 2}H", pseudo + header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(header[:16] + struct.pack("!H", checksum) + header[18:], ("127.0.0.1", 0))


@pytest.mark.privileged
@pytest.mark.parametrize("flags", [FIN | ACK, ACK, RST, RST | ACK])
def test_segments_of_no_connection_are_not_counted(flags: int) -> None:
    with ground("127.0.0.1", [1, 2, 3]) as place, steering() as app:
        app.set(equal(1, 2, 3))
        app.sync(place.listeners())
        for source in range(2000, 2010):
            send(place, flags, source)
        assert app.counters() == {}
        assert [place.chosen() for _ in range(3)] == [1, 2, 3]
        send(place, SYN, 2000)
        assert sum(app.counters().values()) == 4
