"""Three steered listeners, whose connections a test accepts and answers."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass

from deployd.reuseport.steering import Steering
from tests.reuseport.sockets import Ground

REQUEST, ANSWER = b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"
DEADLINE = 10.0


@dataclass(frozen=True)
class Shop:
    """Listeners 1 to 3, steered as one group, whose connections the test accepts and answers."""

    place: Ground
    app: Steering

    def request(self, *, size: int = len(REQUEST)) -> socket.socket:
        client = self.place.connect()
        client.sendall(REQUEST.ljust(size, b"x"))
        return client

    def taken(self) -> tuple[socket.socket, int]:
        """Send a request, and return its client and the instance that got it."""
        before = self.app.counters()
        client = self.request()
        [number] = [one for one, count in self.app.counters().items() if count > before.get(one, 0)]
        return client, number

    def serve(self, number: int) -> socket.socket:
        """Accept a connection, read its request and answer it."""
        accepted = self.accept(number)
        assert accepted.recv(1 << 20)
        accepted.sendall(ANSWER)
        return accepted

    def accept(self, number: int) -> socket.socket:
        return self.place.accept(number)

    def loads(self) -> dict[int, tuple[int, int]]:
        """Return requests in flight and open connections by instance, without those that have neither."""
        found = {number: (load.in_flight, load.open) for number, load in self.app.loads().items()}
        return {number: counts for number, counts in found.items() if counts != (0, 0)}

    def expect(self, counts: dict[int, tuple[int, int]]) -> None:
        """Wait for these counts: an acknowledgement may be delayed, and nothing signals it."""
        end = time.monotonic() + DEADLINE
        while self.loads() != counts and time.monotonic() < end:
            threading.Event().wait(0.005)
        assert self.loads() == counts
