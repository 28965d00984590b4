"""The parameters of a load, and the bytes of its requests."""

import socket
from dataclasses import dataclass

from tests.load.record import Kind


@dataclass(frozen=True, slots=True)
class Plan:
    family: socket.AddressFamily
    address: tuple[str, int] | str
    host: str
    rate: float = 300.0  # fresh connections per second; 0 for none
    keepalive: int = 0
    think: float = 0.05
    close: bool = False  # keep-alive clients take a new connection for each request
    path: str = "/"
    timeout: float = 10.0
    duration: float | None = None  # None: until stopped

    def request(self, kind: Kind) -> bytes:
        connection = "close" if self.close or kind is Kind.FRESH else "keep-alive"
        return f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: {connection}\r\n\r\n".encode()
