"""A server for the tests of clients: what it does with a connection is given."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def listening(one: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield the port of a server that calls `one` in a thread for each connection, and closes it after that."""

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            one(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def head(client: socket.socket) -> tuple[bytes, bytes]:
    """Read the head of a request; return it and what has arrived of the body. Raises ConnectionError."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = client.recv(65536)
        if not more:
            raise ConnectionError
        got += more
    found, _, body = got.partition(b"\r\n\r\n")
    return found, body
