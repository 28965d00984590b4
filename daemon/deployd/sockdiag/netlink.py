"""A question to the kernel about sockets, and the answers (netlink(7), sock_diag(7)).

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


def dump(question: bytes, timeout: float) -> Iterator[bytes]:
    """The body of each answer; `timeout` (seconds) is for one piece of them. Raises OSError."""
    # A socket for each question: no answer to an earlier one can be left in it.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(timeout)
        netlink.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST | _DUMP, 1, 0) + question)
        while True:
            for kind, body in _messages(netlink.recv(1 << 16)):
                if kind in (_ERROR, _DONE):
                    if code := -int.from_bytes(body[:4], sys.byteorder, signed=True):
                        raise OSError(code, os.strerror(code))
                    return
                yield body


def attribute(kind: int, value: bytes) -> bytes:
    """One that belongs to a question."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """Those of an answer by kind; they begin `at` that byte."""
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
            raise OSError("its answer makes no sense")
        yield kind, data[at + _HEADER.size : at + length]
        at += length + 3 & ~3
