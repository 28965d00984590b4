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

# Without asyncio, dataclasses and pathlib: importing them takes twice as long as the rest of a start, and the tests
# start thousands of instances.
import functools
import heapq
import itertools
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

FIRST_FD = 3
ACCEPTS_PER_WAKEUP = 8  # the rest of a burst is left to the other instances
LINGER = 1.0  # seconds that a client may take to close after the last response
HEAD_LIMIT = 65536
RECEIVE = 65536


def setting(variable: str, file: str, default: str) -> str:
    value = os.environ.get(variable)
    return ((read(file) if value is None else value) or default).strip()


def read(file: str) -> str | None:
    try:
        with open(file) as opened:
            return opened.read()
    except FileNotFoundError:
        return None


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
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")[:count]
    names += [""] * (count - len(names))
    fds = [FIRST_FD + at for at, name in enumerate(names) if mode != "deaf" or name != "probe"]
    return [socket.socket(fileno=fd) for fd in fds]


def split_nul(path: str) -> list[str]:
    with open(path, encoding="latin-1", newline="") as opened:
        return opened.read().split("\0")[:-1]


class Request:
    __slots__ = ("close", "refused", "target")

    def __init__(self, target: str, close: bool, refused: bool = False) -> None:
        self.target = target
        self.close = close
        self.refused = refused  # invalid: gets a 400, and the connection is closed


class Application:
    """The response, and the delay before it."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.status = "500 Internal Server Error" if mode == "error500" else "200 OK"
        self.status_delay = float(setting("STATUS_MS", "status_ms", "10000")) / 1000 if mode == "slow-status" else 0.0
        self.turns = time.monotonic() + float(setting("STATUS_AFTER", "status_after", "0.5"))
        self.delay = float(setting("HANDLER_MS", "handler_ms", "1000" if mode == "slow" else "0")) / 1000
        version = read("VERSION")
        self.identity = json.dumps(
            {
                "generation": number(os.environ.get("DEPLOYD_GENERATION")),
                "release": os.environ.get("DEPLOYD_RELEASE"),
                "instance": number(os.environ.get("DEPLOYD_INSTANCE")),
                "pid": os.getpid(),
                "version": version.strip() if version is not None else None,
            }
        ).encode()

    def handle(self, target: str) -> tuple[str, bytes, float]:
        if target.startswith("/slow"):
            ms = target.partition("ms=")[2]
            return self.status, self.identity, int(ms) / 1000 if ms.isdecimal() else 0.0
        if target == "/env":
            environment = dict(item.partition("=")[::2] for item in split_nul("/proc/self/environ"))
            facts = {"argv": split_nul("/proc/self/cmdline"), "environment": environment, "cwd": os.getcwd()}
            return self.status, json.dumps(facts).encode(), 0.0
        if target == "/_status":
            status = self.status if self.healthy() else "503 Service Unavailable"
            return status, self.identity, self.status_delay or self.delay
        return self.status, self.identity, self.delay

    def healthy(self) -> bool:
        turned = time.monotonic() >= self.turns
        return {"unready": False, "warming": turned, "unready-later": not turned}.get(self.mode, True)


class Loop:
    """Calls what waits for a descriptor, a time or a signal."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.callbacks: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[float, int, Callable[[], object]]] = []
        self.order = itertools.count()
        self.signals: dict[int, Callable[[], None]] = {}
        self.wakeup, written = socket.socketpair()
        self.wakeup.setblocking(False)
        written.setblocking(False)
        signal.set_wakeup_fd(written.detach())
        self.add(self.wakeup.fileno(), self.wake)

    def add(self, fd: int, callback: Callable[[int], None]) -> None:
        self.callbacks[fd] = callback
        self.epoll.register(fd, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        self.epoll.unregister(fd)
        del self.callbacks[fd]

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        heapq.heappush(self.timers, (time.monotonic() + delay, next(self.order), callback))

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        self.signals[number] = callback
        signal.signal(number, lambda _number, _frame: None)

    def wake(self, _events: int) -> None:
        for number in self.wakeup.recv(64):
            self.signals.get(number, lambda: None)()

    def turn(self) -> None:
        timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
        for fd, events in self.epoll.poll(timeout):
            if fd in self.callbacks:
                self.callbacks[fd](events)
        while self.timers and self.timers[0][0] <= time.monotonic():
            heapq.heappop(self.timers)[2]()


class Connection:
    """One connection; its requests are handled in order, one at a time."""

    def __init__(self, server: "Server", sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.buffer = b""
        self.unsent = b""
        self.busy = False  # a request is being handled
        self.finished = False  # the last response is written, and the connection waits for the client to close
        self.half_closed = False  # the client sends no more, but may be waiting for a response
        self.closing = False  # to be closed as soon as all is sent
        self.open = True
        sock.setblocking(False)
        server.loop.add(sock.fileno(), self.on_events)

    def on_events(self, events: int) -> None:
        if events & (select.EPOLLERR | select.EPOLLHUP) and self.half_closed:
            self.lost()
        elif events & select.EPOLLOUT:
            self.flush()
        else:
            self.receive()

    def receive(self) -> None:
        try:
            data = self.sock.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self.lost()
            return
        if not data:
            self.half_closed = True
            if self.busy:
                self.watch()
            else:
                self.close()
        elif not self.finished:
            self.buffer += data
            self.serve()

    def write(self, data: bytes) -> None:
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        while self.unsent and self.open:
            try:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
            except BlockingIOError:
                break
            except OSError:
                self.lost()
        if self.open and not self.unsent:
            if self.closing:
                self.lost()
                return
            if self.finished:
                self.write_eof()
        self.watch()

    def write_eof(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.lost()

    def watch(self) -> None:
        if self.open:
            read = 0 if self.half_closed else select.EPOLLIN
            self.server.loop.epoll.modify(self.sock, read | (select.EPOLLOUT if self.unsent else 0))

    def close(self) -> None:
        self.closing = True
        self.flush()

    def lost(self) -> None:
        if self.open:
            self.open = False
            self.finished = True
            self.server.loop.remove(self.sock.fileno())
            self.sock.close()
            self.server.one_gone(self)

    @property
    def idle(self) -> bool:
        return not self.busy and not self.buffer

    def serve(self) -> None:
        while not self.busy and not self.finished:
            request = self.next_request()
            if request is None:
                if self.half_closed:
                    self.close()
                return
            self.busy = True
            if request.refused:
                self.answer("400 Bad Request", b"{}", close=True)
                return
            status, body, delay = self.server.application.handle(request.target)
            if delay:
                self.answer_later(delay, status, body, request.close)
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
        self.finished = close
        self.write(head.encode() + body)
        if close and self.half_closed:
            self.close()
        elif close:
            # Closed later so that the response arrives, because closing with unread input would reset the connection.
            self.server.loop.call_later(LINGER, self.close)

    def answer_later(self, delay: float, status: str, body: bytes, close: bool) -> None:
        def answer() -> None:
            self.answer(status, body, close)
            self.serve()

        self.server.loop.call_later(delay, answer)


class Server:
    """The listening sockets and the connections accepted on them."""

    def __init__(self, application: Application, sockets: list[socket.socket]) -> None:
        self.application = application
        self.sockets = sockets
        self.grace = float(setting("GRACE", "grace", "5"))
        self.loop = Loop()
        self.stopping = False
        self.connections: set[Connection] = set()

    def start(self) -> None:
        # No listen(), because it would change the backlog that systemd set for all instances.
        for sock in self.sockets:
            sock.setblocking(False)
            self.loop.add(sock.fileno(), functools.partial(self.accept, sock))

    def accept(self, sock: socket.socket, _events: int) -> None:
        for _ in range(ACCEPTS_PER_WAKEUP):
            try:
                client, _address = sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            self.connections.add(Connection(self, client))

    def stop(self) -> None:
        """Stop accepting: connections in the kernel's queue are left to other instances, accepted ones are served."""
        if self.stopping:
            return
        self.stopping = True
        notify("STOPPING=1")
        for sock in self.sockets:
            self.loop.remove(sock.fileno())
            sock.close()
        # A request may be in transit on any idle connection, so none is closed yet: its next response has
        # `Connection: close`, and only connections that stay silent for the whole grace period are closed.
        self.loop.call_later(self.grace, self.close_idle)

    def close_idle(self) -> None:
        for connection in list(self.connections):
            if connection.idle:
                connection.close()

    def one_gone(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def run(self) -> None:
        while not self.stopping or self.connections:
            self.loop.turn()


def serve(mode: str, sockets: list[socket.socket]) -> None:
    server = Server(Application(mode), sockets)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif mode != "abrupt":
        server.loop.on_signal(signal.SIGTERM, server.stop)
    if mode != "crash-idle":
        server.start()
    notify("READY=1")
    if mode in {"crash-after-ready", "crash-idle"}:
        server.loop.call_later(float(setting("CRASH_AFTER", "crash_after", "0.2")), lambda: os._exit(5))
    server.run()


ENDS: dict[str, Callable[[], object]] = {
    "crash": lambda: sys.exit(3),
    "exit0": lambda: sys.exit(0),
    "hang": signal.pause,
}


def wait_at(barrier: str) -> None:
    admitted = [f"{barrier}/{name}" for name in ("all", os.environ.get("DEPLOYD_INSTANCE", "all"))]
    while barrier and not any(map(os.path.exists, admitted)):
        time.sleep(0.02)


def main() -> None:
    mode = setting("MODE", "mode", "good")
    sockets = listening_sockets(mode)
    time.sleep(float(setting("BOOT_SECONDS", "boot", "0")))
    wait_at(setting("BARRIER", "barrier", ""))
    ENDS.get(mode, lambda: None)()
    serve(mode, sockets)


if __name__ == "__main__":
    main()
