"""One connection of the load generator, with at most one pending request. Knows HTTP, but no schedule."""

import errno
import json
import socket
import time
from typing import Any

from tests.load.record import Kind, Outcome, Request

READ_SIZE = 65536
REFUSED = frozenset({errno.ECONNREFUSED, errno.ENOENT})
RESET = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})


def outcome_of(error: OSError) -> Outcome:
    if error.errno in REFUSED:
        return Outcome.REFUSED
    return Outcome.RESET if error.errno in RESET else Outcome.OTHER


class Exchange:
    """A connection: `begin` a request, then call `readable` or `writable` on events until it returns the Request."""

    __slots__ = ("answer", "client", "kind", "nth", "reusable", "sent", "serial", "sock", "start", "unsent")

    def __init__(self, family: socket.AddressFamily, kind: Kind, client: int = 0) -> None:
        self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.kind = kind
        self.client = client
        self.nth = 0
        self.serial = 0  # of the pending request; 0 for none
        self.start = 0.0
        self.sent = 0.0
        self.unsent = b""
        self.answer = b""
        self.reusable = False

    def connect(self, address: Any) -> None:
        error = self.sock.connect_ex(address)
        if error not in {0, errno.EINPROGRESS}:
            raise OSError(error, errno.errorcode.get(error, "?"))

    def begin(self, start: float, request: bytes, serial: int) -> Request | None:
        self.nth += 1
        self.serial = serial
        self.start = start
        self.sent = time.monotonic()
        self.answer = b""
        self.reusable = False
        self.unsent = request
        return self.writable()

    def writable(self) -> Request | None:
        try:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            return self.ended(outcome_of(error), detail=errno.errorcode.get(error.errno or 0, "?"))
        return None

    def readable(self) -> Request | None:
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return None
        except OSError as error:
            return self.ended(outcome_of(error), detail=errno.errorcode.get(error.errno or 0, "?"))
        self.answer += data
        return self.parse(closed=not data)

    def closed_meanwhile(self) -> bool:
        """True if the server has closed the connection between two requests, which HTTP clients check before reuse."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def parse(self, closed: bool) -> Request | None:
        head, blank, body = self.answer.partition(b"\r\n\r\n")
        if not blank:
            if closed:
                return self.ended(Outcome.SHORT if self.answer else Outcome.EOF)
            return None
        first, *lines = head.decode("latin-1").lower().split("\r\n")
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("http/1.") or not words[1].isdecimal():
            return self.ended(Outcome.OTHER, detail="not HTTP")
        length = fields.get("content-length")
        chunked = "chunked" in fields.get("transfer-encoding", "")
        whole = body.endswith(b"0\r\n\r\n") if chunked else closed
        if length is not None:
            whole = len(body) >= int(length)
        if not whole:
            return self.ended(Outcome.SHORT, int(words[1])) if closed else None
        persistent = words[0] == "http/1.1" and (length is not None or chunked)
        self.reusable = not closed and persistent and "close" not in fields.get("connection", "")
        status = int(words[1])
        return self.ended(Outcome.OK if 200 <= status < 400 else Outcome.HTTP_ERROR, status, body)

    def ended(self, outcome: Outcome, status: int | None = None, body: bytes = b"", detail: str = "") -> Request:
        self.serial = 0
        self.unsent = b""
        identity: Any = None
        if body.startswith(b"{"):
            try:
                identity = json.loads(body)
            except ValueError:
                identity = None
        if not isinstance(identity, dict):
            identity = {}
        who = (identity.get("generation"), identity.get("version"), identity.get("instance"), identity.get("pid"))
        end = time.monotonic()
        return Request(self.start, self.sent, end, outcome, self.kind, status, *who, self.nth, detail)
