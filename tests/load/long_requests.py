"""Clients whose requests last: slow responses, uploads and downloads in pieces, each on a connection of its own.

`python3 -m tests.load.long_requests --port 8080 --clients 2 --seconds 2` has that many clients of each kind. Driven
like tests.load, by tests.load.client. Nothing is sent twice. The server must have the paths /slow?seconds=N (answers
after N seconds), /upload (a POST, answered when the body has arrived) and /download (of a few megabytes).
"""

import errno
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

from tests.load.clients import Clients, drive, parser
from tests.load.exchange import outcome_of
from tests.load.record import Kind, Outcome, Request

PIECES = 20
UPLOAD = 1_000_000
BUFFER = 65536
"""Bytes of receive buffer: the rest of a download waits in the server."""
READ = 32768
PAUSE = 0.05
"""Seconds between two requests of a client."""


class Failure(Exception):
    """A request that failed."""

    def __init__(self, outcome: Outcome, detail: str = "", status: int | None = None) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.detail = detail
        self.status = status


class LongRequests(Clients):
    """Clients of all three kinds."""

    def __init__(self, address: tuple[str, int], seconds: float, timeout: float) -> None:
        super().__init__(address, timeout)
        self.seconds = seconds
        self.first = {Kind.SLOW: self.slow, Kind.UPLOAD: self.upload, Kind.DOWNLOAD: self.download}

    def loops(self, clients: int) -> Sequence[Callable[[], None]]:
        return [partial(self.client, kind) for kind in self.first for _ in range(clients)]

    def client(self, kind: Kind) -> None:
        while not self.stopping.wait(PAUSE):
            start = time.monotonic()
            outcome, detail, status = Outcome.OK, "", None
            try:
                status = self.request(kind)
            except Failure as failure:
                outcome, detail, status = failure.outcome, failure.detail, failure.status
            except TimeoutError:
                outcome = Outcome.TIMEOUT
            except OSError as error:
                outcome, detail = outcome_of(error), errno.errorcode.get(error.errno or 0, "?")
            self.done.append(Request(start, start, time.monotonic(), outcome, kind, status, detail=detail))

    def request(self, kind: Kind) -> int:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            connection.settimeout(self.timeout)
            connection.connect(self.address)
            return self.first[kind](connection)

    def slow(self, connection: socket.socket) -> int:
        connection.sendall(head(f"GET /slow?seconds={self.seconds:g}"))
        return answer(connection)

    def upload(self, connection: socket.socket) -> int:
        connection.sendall(head("POST /upload", f"Content-Type: text/plain\r\nContent-Length: {UPLOAD}\r\n"))
        for _ in range(PIECES):
            time.sleep(self.seconds / PIECES)
            connection.sendall(b"x" * (UPLOAD // PIECES))
        return answer(connection)

    def download(self, connection: socket.socket) -> int:
        connection.sendall(head("GET /download"))
        return answer(connection, self.seconds / PIECES)


def head(request: str, fields: str = "") -> bytes:
    return f"{request} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n{fields}\r\n".encode()


def answer(connection: socket.socket, pause: float = 0.0) -> int:
    """Read a response, with PIECES pauses on the way; return its status. Raises Failure."""
    text, body = b"", b""
    while b"\r\n\r\n" not in text:
        if not (got := connection.recv(READ)):
            raise Failure(Outcome.SHORT if text else Outcome.EOF)
        text += got
    text, _, body = text.partition(b"\r\n\r\n")
    status = int(text.split()[1])
    fields = {name.lower(): value for name, _, value in (line.partition(b":") for line in text.split(b"\r\n")[1:])}
    whole = int(fields.get(b"content-length", -1))
    chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
    count, last, pauses = len(body), body[-5:], 0
    while (chunked and last != b"0\r\n\r\n") or (not chunked and count != whole):
        if pause and whole > 0 and count * PIECES // whole > pauses:
            pauses += 1
            time.sleep(pause)
        if not (got := connection.recv(READ)):
            if whole < 0 and not chunked:
                break  # the end of the connection is the end of the body
            raise Failure(Outcome.SHORT, f"{count} of {whole} bytes", status)
        count, last = count + len(got), (last + got)[-5:]
    if not 200 <= status < 400:
        raise Failure(Outcome.HTTP_ERROR, status=status)
    return status


def main() -> None:
    arguments = parser("tests.load.long_requests")
    arguments.add_argument("--seconds", type=float, default=2.0, help="that a request lasts")
    options = arguments.parse_args()
    drive(LongRequests((options.host, options.port), options.seconds, options.timeout), options.clients)


if __name__ == "__main__":
    main()
