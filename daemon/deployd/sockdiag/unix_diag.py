"""UNIX sockets with a path as the kernel reports them: listeners, their queues, connections (sock_diag(7)).

Structures and numbers: the kernel's include/uapi/linux/unix_diag.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping

from deployd.errors import steering_errors
from deployd.sockdiag import netlink

_SHOW_NAME, _SHOW_CLIENTS, _SHOW_QUEUE = 0x01, 0x08, 0x10
_NAME, _CLIENTS, _QUEUE = 0, 3, 4
_ESTABLISHED, _LISTEN = 1, 10

_REQUEST = struct.Struct("=BBHIIIII")  # family, protocol, nothing, states, inode, what to show, cookie
_HEADER = struct.Struct("=BBBBIII")  # family, type, state, nothing, inode, cookie
_ATTRIBUTES_AT = _HEADER.size
_LENGTHS = struct.Struct("=II")  # waiting, limit


def queues(timeout: float = 2.0) -> dict[str, int]:
    """Return the connections that wait to be accepted, by the path of their listener. Raises SteeringError.

    If a path was bound again while a process still has the previous listener open, both listeners are counted.
    """
    found: dict[str, int] = {}
    for _, attributes in _sockets(_LISTEN, _SHOW_NAME | _SHOW_QUEUE, timeout):
        if path := _path(attributes):
            found[path] = found.get(path, 0) + _queue(attributes)
    return found


def listeners(timeout: float = 2.0) -> dict[int, tuple[str, int]]:
    """Return the inode of each listener, its path, or "@" and its name if it is not in the file system, and how many
    connections wait to be accepted. Raises SteeringError.
    """
    found = _sockets(_LISTEN, _SHOW_NAME | _SHOW_QUEUE, timeout)
    return {inode: (_path(attributes) or _abstract(attributes), _queue(attributes)) for inode, attributes in found}


def waiting(queues: Mapping[int, int], timeout: float = 2.0) -> tuple[frozenset[int], int]:
    """Return the inodes of the clients that wait at these listeners, and how many connections wait without a known one.

    The kernel reports no client that has closed its end, and may leave out a listener whose clients do not fit into one
    message: then all connections that `queues` has for its inode count as such. Raises SteeringError.
    """
    found = {inode: (0,) * queue for inode, queue in queues.items()}
    for inode, attributes in _sockets(_LISTEN, _SHOW_CLIENTS, timeout):
        if inode in found:
            packed = attributes.get(_CLIENTS, b"")
            found[inode] = struct.unpack(f"={len(packed) // 4}I", packed)
    clients = [client for queue in found.values() for client in queue]
    return frozenset(clients) - {0}, clients.count(0)


def accepted(paths: Collection[str], timeout: float = 2.0) -> dict[int, str]:
    """Return the inode of each connection that was accepted at these paths, and its path: that of its listener.

    Raises SteeringError.
    """
    found = ((inode, _path(attributes)) for inode, attributes in _sockets(_ESTABLISHED, _SHOW_NAME, timeout))
    return {inode: path for inode, path in found if path in paths}


def _path(attributes: dict[int, bytes]) -> str:
    """Return the path of a socket, or "" if it has none: a name that begins with NUL is not in the file system."""
    return os.fsdecode(attributes.get(_NAME, b"").partition(b"\0")[0])


def _queue(attributes: dict[int, bytes]) -> int:
    waiting, _ = _LENGTHS.unpack(attributes[_QUEUE]) if _QUEUE in attributes else (0, 0)
    return int(waiting)


def _abstract(attributes: dict[int, bytes]) -> str:
    return "@" + os.fsdecode(attributes.get(_NAME, b"").strip(b"\0"))


def _sockets(state: int, show: int, timeout: float) -> Iterator[tuple[int, dict[int, bytes]]]:
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, 1 << state, 0, show, 0, 0)
    with steering_errors("request the UNIX sockets of the kernel (sock_diag)"):
        for body in netlink.dump(request, timeout):
            yield _HEADER.unpack_from(body)[4], netlink.attributes(body, _ATTRIBUTES_AT)
