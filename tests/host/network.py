"""Sockets of this process that live in a host's network namespace."""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Connection = socket.socket
CLONE_NEWNET = 0x40000000


def open_socket(
    namespace: Path, family: socket.AddressFamily = socket.AF_INET, kind: int = socket.SOCK_STREAM
) -> socket.socket:
    """A socket that belongs to the network `namespace` for as long as it lives."""

    def inside() -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        with namespace.open() as file:
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        return socket.socket(family, kind)

    with ThreadPoolExecutor(1) as thread:  # a namespace is the thread's own: this one ends, ours never moves
        return thread.submit(inside).result()


def connect(namespace: Path, address: tuple[str, int], timeout: float) -> Connection:
    """A TCP connection to an address in `namespace`."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return _connected(open_socket(namespace, family), address, timeout)


def connect_unix(path: Path, timeout: float) -> Connection:
    """A connection to a UNIX stream socket, wherever its file lies."""
    directory = os.open(path.parent, os.O_PATH)
    try:  # the address of a UNIX socket is short
        name = f"/proc/self/fd/{directory}/{path.name}"
        return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), name, timeout)
    finally:
        os.close(directory)


def _connected(connection: socket.socket, address: tuple[str, int] | str, timeout: float) -> Connection:
    connection.settimeout(timeout)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
