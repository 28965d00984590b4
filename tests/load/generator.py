"""Generates load: new connections in an open loop, keep-alive clients in closed loops; counts every outcome.

Uses one thread and one epoll, because connections of asyncio cost several times as much, and the generator shares the
CPUs with what it measures. A fresh request is due at start + n / rate, whatever the outcome of those before it, is
timed from then, and is never sent twice. A keep-alive client sends again `think` seconds after its last response, on
the same connection as long as the server keeps it open.
"""

import errno
import gc
import heapq
import os
import resource
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.load import netstat
from tests.load.exchange import Exchange, outcome_of
from tests.load.plan import Plan
from tests.load.record import Kind, Mark, Outcome, Record, Request

WARM = 50  # ok responses on fresh connections, besides one for every keep-alive client


class Generator:
    """Call `run` once. `on_ready` is called after warming up; `on_line` with each line that arrives on `commands`."""

    def __init__(
        self,
        plan: Plan,
        on_ready: Callable[[], None] = lambda: None,
        on_line: Callable[[str], None] = lambda line: None,
        commands: int | None = None,
        stop_on_eof: bool = False,
    ) -> None:
        self.plan = plan
        self.on_ready = on_ready
        self.on_line = on_line
        self.commands = commands
        self.stop_on_eof = stop_on_eof
        self.epoll = select.epoll()  # created first, because select() below needs a small number
        self.wires = {kind: plan.request(kind) for kind in Kind}
        self.done: list[Request] = []
        self.marks: list[Mark] = []
        self.open: dict[int, Exchange] = {}
        self.deadlines: deque[tuple[float, int, Exchange]] = deque()
        self.thinking: list[tuple[float, int]] = []
        self.clients: dict[int, Exchange] = {}  # the keep-alive clients' connections between requests
        self.serial = 0
        self.idle_closes = 0
        self.failed = 0
        self.cold = {-1, *range(plan.keepalive)} if plan.rate else set(range(plan.keepalive))
        self.fresh_ok = 0
        self.typed = b""
        self.stopped_at: float | None = None
        self.wake_read, self.wake_write = socket.socketpair()

    def mark(self, name: str) -> Mark:
        mark = Mark(name, time.monotonic())
        self.marks.append(mark)
        return mark

    def stop(self) -> None:
        """Stop sending. Pending requests still get their responses or timeouts."""
        if self.stopped_at is None:
            self.stopped_at = time.monotonic()

    def run(self) -> Record:
        self.prepare()
        queue = netstat.read()
        start = time.monotonic()
        count = 0
        plan = self.plan
        for client in range(plan.keepalive):
            heapq.heappush(self.thinking, (start + plan.think * client / plan.keepalive, client))
        while self.stopped_at is None or self.deadlines:
            now = time.monotonic()
            if plan.duration is not None and now >= start + plan.duration:
                self.stop()
            wakeups = [now + 1.0]
            if self.stopped_at is None:
                while plan.rate and (due := start + count / plan.rate) <= now:
                    count += 1
                    self.open_and_begin(Kind.FRESH, due)
                while self.thinking and self.thinking[0][0] <= now:
                    self.again(*heapq.heappop(self.thinking))
                wakeups += [start + count / plan.rate] if plan.rate else []
                wakeups += [self.thinking[0][0]] if self.thinking else []
                wakeups += [start + plan.duration] if plan.duration is not None else []
            self.expire(now)
            if self.deadlines:
                wakeups.append(self.deadlines[0][0])
            elif self.stopped_at is not None:
                break
            self.wait(min(wakeups))
        for exchange in self.clients.values():
            exchange.sock.close()
        overflow = netstat.read() - queue
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime
        facts: dict[str, Any] = {
            "idle_closes": self.idle_closes,
            "listen_overflows": overflow.overflows,
            "listen_drops": overflow.drops,
            "cpu_share": round(cpu / (time.monotonic() - start), 3),
        }
        return Record.of(self.done, start, self.stopped_at, self.marks, facts)

    def prepare(self) -> None:
        gc.disable()  # there are no cycles, and a full collection would appear as latency of the server
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.wake_read.setblocking(False)
        self.wake_write.setblocking(False)
        signal.set_wakeup_fd(self.wake_write.fileno(), warn_on_full_buffer=False)
        self.epoll.register(self.wake_read, select.EPOLLIN)
        if self.commands is not None:
            try:
                self.epoll.register(self.commands, select.EPOLLIN)
            except PermissionError:  # /dev/null or a file: there are no commands
                self.commands = None

    def wait(self, until: float) -> None:
        # epoll has a resolution of milliseconds, select of microseconds, so that requests are sent in time.
        select.select([self.epoll], [], [], max(until - time.monotonic(), 0))
        for fd, _events in self.epoll.poll(0):
            if fd == self.wake_read.fileno():
                self.wake_read.recv(4096)  # Python's own signal handler has called stop()
            elif fd == self.commands:
                self.read_commands(fd)
            elif fd in self.open:
                self.advance(self.open[fd])

    def read_commands(self, fd: int) -> None:
        data = os.read(fd, 4096)
        if not data:
            self.epoll.unregister(fd)
            if self.stop_on_eof:
                self.stop()
        *lines, self.typed = (self.typed + data).split(b"\n")
        for line in lines:
            self.on_line(line.decode())

    def open_and_begin(self, kind: Kind, due: float, client: int = 0) -> None:
        try:
            exchange = Exchange(self.plan.family, kind, client)
        except OSError as error:  # out of file descriptors: a failure of the generator, which must not be hidden
            now = time.monotonic()
            self.count(Request(due, now, now, Outcome.OTHER, kind, detail=errno.errorcode.get(error.errno or 0, "?")))
            self.think(kind, client)
            return
        exchange.start = exchange.sent = due
        try:
            exchange.connect(self.plan.address)
        except OSError as error:
            exchange.nth = 1
            detail = errno.errorcode.get(error.errno or 0, "?")
            self.close(exchange, exchange.ended(outcome_of(error), detail=detail))
            return
        self.open[exchange.sock.fileno()] = exchange
        self.epoll.register(exchange.sock, select.EPOLLIN)
        self.begin(exchange, due)

    def begin(self, exchange: Exchange, due: float) -> None:
        self.serial += 1
        result = exchange.begin(due, self.wires[exchange.kind], self.serial)
        if result is not None:
            self.close(exchange, result)
            return
        self.deadlines.append((time.monotonic() + self.plan.timeout, self.serial, exchange))
        if exchange.unsent:  # not connected yet
            self.epoll.modify(exchange.sock, select.EPOLLIN | select.EPOLLOUT)

    def again(self, due: float, client: int) -> None:
        exchange = self.clients.pop(client, None)
        if exchange is not None and exchange.closed_meanwhile():
            self.idle_closes += 1
            self.close(exchange, None)
            exchange = None
        if exchange is None:
            self.open_and_begin(Kind.KEEPALIVE, due, client)
        else:
            self.begin(exchange, due)

    def advance(self, exchange: Exchange) -> None:
        if not exchange.serial:  # between requests: the server closed
            self.clients.pop(exchange.client, None)
            self.idle_closes += 1
            self.close(exchange, None)
            return
        if exchange.unsent:
            result = exchange.writable()
            if result is None and not exchange.unsent:
                self.epoll.modify(exchange.sock, select.EPOLLIN)
        else:
            result = exchange.readable()
        if result is None:
            return
        if exchange.reusable and exchange.kind is Kind.KEEPALIVE:
            self.count(result)
            self.clients[exchange.client] = exchange
            self.warm(exchange, result)
            self.think(exchange.kind, exchange.client)
        else:
            self.close(exchange, result)

    def expire(self, now: float) -> None:
        while self.deadlines:
            deadline, serial, exchange = self.deadlines[0]
            if exchange.serial == serial:
                if deadline > now:
                    return
                self.close(exchange, exchange.ended(Outcome.TIMEOUT))
            self.deadlines.popleft()

    def close(self, exchange: Exchange, result: Request | None) -> None:
        """Close the connection. Without a result it was between requests, during its client's pause."""
        self.open.pop(exchange.sock.fileno(), None)
        exchange.sock.close()
        if result is not None:
            self.count(result)
            self.warm(exchange, result)
            self.think(exchange.kind, exchange.client)

    def think(self, kind: Kind, client: int) -> None:
        if kind is Kind.KEEPALIVE:
            heapq.heappush(self.thinking, (time.monotonic() + self.plan.think, client))

    def count(self, request: Request) -> None:
        self.done.append(request)
        self.failed += request.failed

    def warm(self, exchange: Exchange, result: Request) -> None:
        if not self.cold or result.failed:
            return
        if exchange.kind is Kind.KEEPALIVE:
            self.cold.discard(exchange.client)
        else:
            self.fresh_ok += 1
            if self.fresh_ok >= WARM:
                self.cold.discard(-1)
        if not self.cold:
            self.mark("ready")
            self.on_ready()
