"""A small HTTP/1.1 application for socket activation, which loses no request that it accepted.

Copied whole into a release directory (see tests/sample_apps/release.py), so it imports the standard library only. Every
setting is an environment variable or, failing that, a file of the release directory: BOOT_SECONDS (`boot`),
HANDLER_MS (`handler_ms`), MODE (`mode`), CRASH_AFTER (`crash_after`), GRACE (`grace`), STATUS_AFTER (`status_after`),
STATUS_MS (`status_ms`), BARRIER (`barrier`: a directory; booting ends when it has a file `all` or one named like the
instance).

Modes: good · slow (a handler of 1 s, unless HANDLER_MS is set) · error500 (responds 500 to everything) · crash (exits
with 3 instead of becoming ready) · exit0 · hang (never ready) · crash-after-ready (serves, then exits with 5, losing
requests in progress) · crash-idle (the same, without accepting) · abrupt (dies on SIGTERM and loses requests in
progress: a control for tests that count) · stubborn (ignores SIGTERM).
Modes that differ in /_status only: unready (responds 503) · warming (503 until STATUS_AFTER seconds after it was
ready) · unready-later (503 from then on) · slow-status (responds after STATUS_MS) · deaf (does not serve the socket
named "probe" in LISTEN_FDNAMES, which other modes serve like the rest).

Paths: /env (argv and environment from the kernel, bytes as latin-1) · /slow?ms=N · all others, including /_status,
identify the instance.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

FIRST_FD = 3
ACCEPTS_PER_WAKEUP = 8  # the rest of a burst is left to the other instances
LINGER = 1.0  # seconds that a client may take to close after the last response
HEAD_LIMIT = 65536


def setting(variable: str, file: str, default: str) -> str:
    value = os.environ.get(variable)
    if value is None and Path(file).exists():
        value = Path(file).read_text()
    return (value or default).strip()


def number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def notify(state: str) -> None:
    """sd_notify(3): one datagram; a leading @ means an abstract address."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def listening_sockets(mode: str) -> list[socket.socket]:
    if os.environ.get("LISTEN_PID", str(os.getpid())) != str(os.getpid()):
        sys.exit("LISTEN_PID is another process: no sockets for us")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    if not count:
        sys.exit("LISTEN_FDS is not set: start this by socket activation")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    sockets = zip_longest(range(FIRST_FD, FIRST_FD + count), names[:count])
    return [socket.socket(fileno=fd) for fd, name in sockets if mode != "deaf" or name != "probe"]


def split_nul(path: str) -> list[str]:
    return Path(path).read_bytes().decode("latin-1").split("\0")[:-1]


@dataclass(frozen=True, slots=True)
class Request:
    target: str
    close: bool
    refused: bool = False  # invalid: gets a 400, and the connection is closed


class Application:
    """The response, and the delay before it."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.status = "500 Internal Server Error" if mode == "error500" else "200 OK"
        self.status_delay = float(setting("STATUS_MS", "status_ms", "10000")) / 1000 if mode == "slow-status" else 0.0
        self.turns = time.monotonic() + float(setting("STATUS_AFTER", "status_after", "0.5"))
        self.delay = float(setting("HANDLER_MS", "handler_ms", "1000" if mode == "slow" else "0")) / 1000
        version = Path("VERSION")
        self.identity = json.dumps(
            {
                "generation": number(os.environ.get("DEPLOYD_GENERATION")),
                "release": os.environ.get("DEPLOYD_RELEASE"),
                "instance": number(os.environ.get("DEPLOYD_INSTANCE")),
                "pid": os.getpid(),
                "version": version.read_text().strip() if version.exists() else None,
            }
        ).encode()

    def handle(self, target: str) -> tuple[str, bytes, float]:
        if target.startswith("/slow"):
            ms = parse_qs(urlsplit(target).query).get("ms", ["0"])[0]
            return self.status, self.identity, int(ms) / 1000 if ms.isdecimal() else 0.0
        if target == "/env":
            environment = dict(item.partition("=")[::2] for item in split_nul("/proc/self/environ"))
            facts = {"argv": split_nul("/proc/self/cmdline"), "environment": environment, "cwd": str(Path.cwd())}
            return self.status, json.dumps(facts).encode(), 0.0
        if target == "/_status":
            status = self.status if self.healthy() else "503 Service Unavailable"
            return status, self.identity, self.status_delay or self.delay
        return self.status, self.identity, self.delay

    def healthy(self) -> bool:
        turned = time.monotonic() >= self.turns
        return {"unready": False, "warming": turned, "unready-later": not turned}.get(self.mode, True)


class Connection(asyncio.Protocol):
    """One connection; its requests are handled in order, one at a time."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.buffer = b""
        self.busy = False  # a request is being handled
        self.finished = False  # the last response is written, and the connection waits for the client to close
        self.half_closed = False  # the client sends no more, but may be waiting for a response
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.finished = True
        self.server.connections.discard(self)
        self.server.one_gone()

    def data_received(self, data: bytes) -> None:
        if not self.finished:
            self.buffer += data
            self.serve()

    def eof_received(self) -> bool:
        self.half_closed = True
        return self.busy  # a false value closes the transport

    @property
    def idle(self) -> bool:
        return not self.busy and not self.buffer

    def serve(self) -> None:
        while not self.busy and not self.finished:
            request = self.next_request()
            if request is None:
                if self.half_closed:
                    self.transport.close()
                return
            self.busy = True
            if request.refused:
                self.answer("400 Bad Request", b"{}", close=True)
                return
            status, body, delay = self.server.application.handle(request.target)
            if delay:
                self.server.loop.call_later(delay, self.answer_and_go_on, status, body, request.close)
            else:
                self.answer(status, body, request.close)

    def next_request(self) -> Request | None:
        head, blank, rest = self.buffer.partition(b"\r\n\r\n")
        if not blank:
            return Request("", close=True, refused=True) if len(head) > HEAD_LIMIT else None
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        words = first.split(" ")
        length = fields.get("content-length", "0")
        if len(words) != 3 or not length.isdecimal() or "transfer-encoding" in fields:
            return Request("", close=True, refused=True)
        if len(rest) < int(length):
            return None
        self.buffer = rest[int(length) :]
        connection = fields.get("connection", "").lower()
        return Request(words[1], "keep-alive" not in connection if words[2] == "HTTP/1.0" else "close" in connection)

    def answer(self, status: str, body: bytes, close: bool) -> None:
        self.busy = False
        if self.finished:
            return
        close = close or self.server.stopping
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if close:
            self.finish()

    def answer_and_go_on(self, status: str, body: bytes, close: bool) -> None:
        self.answer(status, body, close)
        self.serve()

    def finish(self) -> None:
        """Close so that the response arrives, because closing with unread input would reset the connection."""
        self.finished = True
        if self.half_closed:
            self.transport.close()
            return
        self.transport.write_eof()
        self.server.loop.call_later(LINGER, self.transport.close)


class Server:
    """The listening sockets and the connections accepted on them."""

    def __init__(self, application: Application, sockets: list[socket.socket]) -> None:
        self.application = application
        self.sockets = sockets
        self.grace = float(setting("GRACE", "grace", "5"))
        self.loop = asyncio.get_running_loop()
        self.stopping = False
        self.ended = asyncio.Event()
        self.connections: set[Connection] = set()
        self.accepted = 0  # open connections, including those without a transport yet
        self.starting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        # No listen() as in asyncio's servers, because it would change the backlog that systemd set for all instances.
        for sock in self.sockets:
            sock.setblocking(False)
            self.loop.add_reader(sock, self.accept, sock)

    def accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_WAKEUP):
            try:
                client, _address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            self.accepted += 1
            task = self.loop.create_task(self.adopt(client))
            self.starting.add(task)
            task.add_done_callback(self.starting.discard)

    async def adopt(self, client: socket.socket) -> None:
        client.setblocking(False)
        await self.loop.connect_accepted_socket(lambda: Connection(self), client)

    def stop(self) -> None:
        """Stop accepting: connections in the kernel's queue are left to other instances, accepted ones are served."""
        if self.stopping:
            return
        self.stopping = True
        notify("STOPPING=1")
        for sock in self.sockets:
            self.loop.remove_reader(sock)
            sock.close()
        # A request may be in transit on any idle connection, so none is closed yet: its next response has
        # `Connection: close`, and only connections that stay silent for the whole grace period are closed.
        self.loop.call_later(self.grace, self.close_idle)
        self.end_if_done()

    def close_idle(self) -> None:
        for connection in list(self.connections):
            if connection.idle:
                connection.transport.close()

    def one_gone(self) -> None:
        self.accepted -= 1
        self.end_if_done()

    def end_if_done(self) -> None:
        if self.stopping and not self.accepted:
            self.ended.set()


async def serve(mode: str, sockets: list[socket.socket]) -> None:
    server = Server(Application(mode), sockets)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif mode != "abrupt":
        server.loop.add_signal_handler(signal.SIGTERM, server.stop)
    if mode != "crash-idle":
        server.start()
    notify("READY=1")
    if mode in {"crash-after-ready", "crash-idle"}:
        server.loop.call_later(float(setting("CRASH_AFTER", "crash_after", "0.2")), os._exit, 5)
    await server.ended.wait()


ENDS: dict[str, Callable[[], object]] = {
    "crash": lambda: sys.exit(3),
    "exit0": lambda: sys.exit(0),
    "hang": signal.pause,
}


def wait_at(barrier: str) -> None:
    admitted = [Path(barrier, name) for name in ("all", os.environ.get("DEPLOYD_INSTANCE", "all"))]
    while barrier and not any(map(Path.exists, admitted)):
        time.sleep(0.02)


def main() -> None:
    mode = setting("MODE", "mode", "good")
    sockets = listening_sockets(mode)
    time.sleep(float(setting("BOOT_SECONDS", "boot", "0")))
    wait_at(setting("BARRIER", "barrier", ""))
    ENDS.get(mode, lambda: None)()
    asyncio.run(serve(mode, sockets))


if __name__ == "__main__":
    main()
