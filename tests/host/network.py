"""Sockets of this process in a host's network namespace."""

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
    """Create a socket in the network `namespace`."""

    def inside() -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        with namespace.open() as file:
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        return socket.socket(family, kind)

    with ThreadPoolExecutor(1) as thread:  # the namespace is per thread, so a temporary thread enters it
        return thread.submit(inside).result()


def connect(namespace: Path, address: tuple[str, int], timeout: float) -> Connection:
    """Open a TCP connection to an address in `namespace`."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return _connected(open_socket(namespace, family), address, timeout)


def connect_unix(path: Path, timeout: float) -> Connection:
    """Open a connection to a UNIX stream socket with a path of any length."""
    directory = os.open(path.parent, os.O_PATH)
    try:  # addresses of UNIX sockets are limited in length
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
