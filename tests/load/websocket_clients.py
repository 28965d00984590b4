"""Clients that keep a WebSocket each (RFC 6455), send a message after every answer, and connect again when it closes.

`python3 -m tests.load.websocket_clients --port 8080 --clients 4`. The server must send back each text message at
/events. Every message is a request of the record, and so is every opening. A message has failed if its answer never
came, whatever ended the connection. A connection that the server closes with 1001 or 1012 between two messages is a
*move*, and no failure: the client connects again at once. One that ends without such a close frame has failed.
"""

import base64
import errno
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

from tests.load.clients import Clients, drive, parser
from tests.load.exchange import outcome_of
from tests.load.record import Kind, Outcome, Request

PAUSE = 0.05
"""Seconds between an answer and the next message."""
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
"""Opcodes, section 5.2."""
GOING_AWAY, RESTART = 1001, 1012
"""Close codes after which a client is to connect again (section 7.4.1, and IANA)."""


class Closed(Exception):
    """The server has ended the connection; the code of its close frame, or 0 if there was none."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Refused(Exception):
    """The server has answered the opening with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Channel:
    """One WebSocket. Methods raise Closed, Refused, OSError."""

    def __init__(self, address: tuple[str, int], timeout: float) -> None:
        self.socket = socket.create_connection(address, timeout)
        self.unread = b""
        key = base64.b64encode(os.urandom(16)).decode()
        head = "GET /events HTTP/1.1\r\nHost: demo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.socket.sendall(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        while b"\r\n\r\n" not in self.unread:
            self.read()
        answer, _, self.unread = self.unread.partition(b"\r\n\r\n")
        if (status := int(answer.split()[1])) != 101:
            raise Refused(status)

    def read(self) -> None:
        if not (got := self.socket.recv(4096)):
            raise Closed(0)
        self.unread += got

    def send(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)  # frames of clients are masked, section 5.3
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.socket.sendall(struct.pack("!BB", 0x80 | opcode, 0x80 | len(payload)) + mask + masked)

    def message(self, within: float) -> bytes | None:
        """Return the next text message, or None if nothing more arrives within so many seconds. Answers pings."""
        end = time.monotonic() + within
        while self.unread or select.select([self.socket], [], [], max(end - time.monotonic(), 0))[0]:
            opcode, payload = self.frame()
            if opcode == TEXT:
                return payload
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == CLOSE:
                raise Closed(int.from_bytes(payload[:2], "big"))
        return None

    def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame, which has less than 126 bytes and no mask."""
        while len(self.unread) < 2 or len(self.unread) < 2 + self.unread[1]:
            self.read()
        opcode, size = self.unread[0] & 0xF, self.unread[1]
        payload, self.unread = self.unread[2 : 2 + size], self.unread[2 + size :]
        return opcode, payload


class WebSocketClients(Clients):
    """Clients with a WebSocket each. The fact `moved` counts the connections that the server has closed in order."""

    def __init__(self, address: tuple[str, int], timeout: float) -> None:
        super().__init__(address, timeout)
        self.facts["moved"] = 0
        self.counting = threading.Lock()

    def loops(self, clients: int) -> Sequence[Callable[[], None]]:
        return [self.client] * clients

    def client(self) -> None:
        while not self.stopping.wait(PAUSE):
            while self.visit():
                continue  # moved

    def visit(self) -> bool:
        """Keep one connection; return True if the server has closed it in order: the next one begins at once."""
        channel: Channel | None = None
        start, waiting = time.monotonic(), True
        try:
            channel = Channel(self.address, self.timeout)
            self.count(start)
            while True:
                waiting = False
                if channel.message(PAUSE) is not None:
                    raise Closed(0)  # an answer to nothing
                if self.stopping.is_set():
                    channel.send(CLOSE, (1000).to_bytes(2, "big"))
                    return False
                start, waiting = time.monotonic(), True
                channel.send(TEXT, b"%.6f" % start)
                if channel.message(self.timeout) != b"%.6f" % start:
                    raise TimeoutError
                self.count(start)
        except Closed as closed:
            if not waiting and closed.code in {GOING_AWAY, RESTART}:
                with self.counting:
                    self.facts["moved"] += 1
                return True
            self.count(start, Outcome.EOF, f"close {closed.code}")
        except Refused as refused:
            self.count(start, Outcome.HTTP_ERROR, status=refused.status)
        except TimeoutError:
            self.count(start, Outcome.TIMEOUT)
        except OSError as error:
            self.count(start, outcome_of(error), errno.errorcode.get(error.errno or 0, "?"))
        finally:
            if channel is not None:
                channel.socket.close()
        return False

    def count(self, start: float, outcome: Outcome = Outcome.OK, detail: str = "", status: int | None = None) -> None:
        self.done.append(Request(start, start, time.monotonic(), outcome, Kind.WEBSOCKET, status, detail=detail))


def main() -> None:
    options = parser("tests.load.websocket_clients").parse_args()
    drive(WebSocketClients((options.host, options.port), options.timeout), options.clients)


if __name__ == "__main__":
    main()
