"""What the kernel tells of UNIX sockets that have a path: listeners, their queues, connections (sock_diag(7)).

Structures and numbers: the kernel's include/uapi/linux/unix_diag.h.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress

from deployd.errors import SteeringError
from deployd.steering.syscalls import told

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_SHOW_NAME, _SHOW_QUEUE = 0x01, 0x10
_NAME, _QUEUE = 0, 4
_ESTABLISHED, _LISTEN = 1, 10

_HEADER = struct.Struct("=IHHII")  # length, kind, flags, sequence, port
_QUESTION = struct.Struct("=BBHIIIII")  # family, protocol, nothing, states, inode, what to show, cookie
_ATTRIBUTES_AT = struct.calcsize("=BBBBIII")  # family, type, state, nothing, inode, cookie
_ATTRIBUTE = struct.Struct("=HH")  # length, kind
_LENGTHS = struct.Struct("=II")  # waiting, limit


def queues(timeout: float = 2.0) -> dict[str, int]:
    """Path of each listener to the connections that wait to be accepted. Raises SteeringError.

    Two listeners have the same path where one of them was bound anew and the other is still held by a program: both
    are counted.
    """
    found: dict[str, int] = {}
    for attributes in _ask(_LISTEN, _SHOW_NAME | _SHOW_QUEUE, timeout):
        waiting, _ = _LENGTHS.unpack(attributes[_QUEUE]) if _QUEUE in attributes else (0, 0)
        if path := _path(attributes):
            found[path] = found.get(path, 0) + waiting
    return found


def connections(paths: Collection[str], timeout: float = 2.0) -> dict[str, int]:
    """How many accepted connections the listeners at these paths have; one that is accepted has its listener's path.

    Raises SteeringError.
    """
    found = Counter(_path(attributes) for attributes in _ask(_ESTABLISHED, _SHOW_NAME, timeout))
    return {path: found[path] for path in paths}


def _path(attributes: dict[int, bytes]) -> str:
    """Empty for a socket without a path; a name that begins with NUL is none of the file system's."""
    return os.fsdecode(attributes.get(_NAME, b"").partition(b"\0")[0])


def _ask(state: int, show: int, timeout: float) -> Iterator[dict[int, bytes]]:
    with (
        told("ask the kernel for its UNIX sockets (sock_diag)"),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink,
    ):
        netlink.settimeout(timeout)
        body = _QUESTION.pack(socket.AF_UNIX, 0, 0, 1 << state, 0, show, 0, 0)
        netlink.send(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST | _DUMP, 1, 0) + body)
        while True:
            for kind, content in _messages(netlink.recv(1 << 16)):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    code = -int.from_bytes(content[:4], sys.byteorder, signed=True)
                    raise OSError(code, os.strerror(code))
                yield dict(_attributes(content))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            raise SteeringError("the kernel's answer about its UNIX sockets makes no sense")
        yield kind, data[at + _HEADER.size : at + length]
        at += length + 3 & ~3


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = _ATTRIBUTES_AT
    with suppress(struct.error):  # the end
        while True:
            length, kind = _ATTRIBUTE.unpack_from(body, at)
            if length < _ATTRIBUTE.size:
                return
            yield kind, body[at + _ATTRIBUTE.size : at + length]
            at += length + 3 & ~3
