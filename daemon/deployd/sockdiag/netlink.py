"""A request to the kernel for sockets, and the responses (netlink(7), sock_diag(7)).

Structures and numbers: the kernel's include/uapi/linux/netlink.h and sock_diag.h.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3

_HEADER = struct.Struct("=IHHII")  # length, kind, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, kind


def dump(request: bytes, timeout: float) -> Iterator[bytes]:
    """Yield the body of each response; `timeout` (seconds) is for one packet of them. Raises OSError."""
    # A new socket for each request, so that no response to an earlier one is left in it.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(timeout)
        netlink.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _REQUEST | _DUMP, 1, 0) + request)
        while True:
            for kind, body in _messages(netlink.recv(1 << 16)):
                if kind in (_ERROR, _DONE):
                    if code := -int.from_bytes(body[:4], sys.byteorder, signed=True):
                        raise OSError(code, os.strerror(code))
                    return
                yield body


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute of a request."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """Return the attributes of a response by kind; they begin at byte `at`."""
    found = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            raise OSError("the response is malformed")
        yield kind, data[at + _HEADER.size : at + length]
        at += length + 3 & ~3
