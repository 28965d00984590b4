"""Clients whose requests last: slow responses, uploads and downloads in pieces, each on a connection of its own.

`python3 -m tests.load.long_requests --port 8080 --clients 2 --seconds 2` has that many clients of each kind. Driven
like tests.load, by tests.load.client. Nothing is sent twice. The server must have the paths /slow?seconds=N (answers
after N seconds), /upload (a POST, answered when the body has arrived) and /download (of a few megabytes).
"""

import argparse
import contextlib
import errno
import json
import socket
import sys
import threading
import time
from collections.abc import Callable

from tests.load.exchange import outcome_of
from tests.load.record import Kind, Mark, Outcome, Record, Request

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


class Clients:
    """Clients of all kinds, a thread for each. `run` returns when `stop` was called and the last request has ended."""

    def __init__(self, address: tuple[str, int], seconds: float, timeout: float) -> None:
        self.address = address
        self.seconds = seconds
        self.timeout = timeout
        self.done: list[Request] = []
        self.marks: list[Mark] = []
        self.stopping = threading.Event()
        self.first = {Kind.SLOW: self.slow, Kind.UPLOAD: self.upload, Kind.DOWNLOAD: self.download}

    def run(self, clients: int, on_ready: Callable[[], None]) -> Record:
        start = time.monotonic()
        threads = [threading.Thread(target=self.client, args=(kind,)) for kind in self.first for _ in range(clients)]
        for thread in threads:
            thread.start()
        on_ready()
        self.stopping.wait()
        end = time.monotonic()
        for thread in threads:
            thread.join()
        return Record.of(self.done, start, end, self.marks)

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


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m tests.load.long_requests")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=1, help="of each kind")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a request lasts")
    parser.add_argument("--timeout", type=float, default=15.0, help="seconds without a byte")
    arguments = parser.parse_args()
    clients = Clients((arguments.host, arguments.port), arguments.seconds, arguments.timeout)

    def execute() -> None:
        for line in sys.stdin:
            command, _, rest = line.strip().partition(" ")
            if command == "stop":
                break
            if command == "mark":
                clients.marks.append(Mark(rest, time.monotonic()))
                say(f"mark {rest} {clients.marks[-1].at}")
            elif command == "progress":
                done = list(clients.done)
                say("progress " + json.dumps({"requests": len(done), "failed": sum(item.failed for item in done)}))
        clients.stopping.set()

    threading.Thread(target=execute, daemon=True).start()
    record = clients.run(arguments.clients, lambda: say("ready"))
    with contextlib.suppress(BrokenPipeError):
        say(json.dumps(record.summary()))
        record.dump(sys.stdout)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
