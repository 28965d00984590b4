"""The daemon under test: deployd.main, with every step that affects the system counted, labelled and interruptible.

Runs on the host in place of `deployd daemon` (by a drop-in of deployd.service, see tests/torture/site.py), in the same
sandbox. A step is a label and the number of its occurrences since the driver armed the daemon:

    call MEMBER UNIT, reply MEMBER UNIT    each D-Bus call, before it is sent and after its reply has arrived; reading
                                           all properties of a unit counts once
    disk METHOD WHAT                       each method of state/disk.py
    sqlite WORDS                           each statement that writes
    spawn PROGRAM, dial SOCKET             each program run, each UNIX socket connected to (probes, journald)
    wake                                   each iteration of a control loop
    bpf COMMAND, pidfd_getfd, sock_diag    each system call of steering, but not those in threads

Work for the neighbour app does not count. Labels contain no instance numbers, so that a step has the same name whatever
ran before. At the step that the driver has armed, the daemon reports that and blocks, as if it were slow, until the
driver decides what happens: nothing, SIGKILL, for D-Bus an error, a delay or a missing reply, for steering an error.

CLOCK_REALTIME belongs to the machine, not to the test host, and must not be changed. To make the clock jump,
time.time() of this process is shifted. That tests how deployd uses its wall clock, but not systemd's; the times that
deployd gets from systemd are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import re
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from deployd import main
from deployd.bus import Bus, BusError
from deployd.errors import SteeringError
from deployd.model import unit_name
from deployd.reuseport import syscalls
from deployd.rollout.controller import Controller
from deployd.sockdiag.inet_diag import Diag, State
from deployd.state.disk import Disk
from tests.torture.neighbour import NEIGHBOUR, is_neighbours

SOCKET = "/run/torture.sock"
PATIENCE = 25.0
"""Seconds to wait for the driver at a step; less than WatchdogSec= of deployd.service."""
LOST = 1.0
"""Seconds after which a dropped reply counts as lost, in place of the real deadline of 30 s."""

Json = dict[str, Any]
GO: Json = {"do": "go"}

NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
FAILED = "org.freedesktop.DBus.Error.Failed"

BPF = {0: "create", 1: "lookup", 2: "update", 3: "delete", 5: "load", 15: "info"}
"""enum bpf_cmd, as far as the daemon uses it."""

_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|BEGIN|COMMIT|ROLLBACK|CREATE)\b\s*(?:OR \w+ |INTO |FROM |TABLE )*(\w*)")
_now = time.time


class Wire:
    """The connection to the driver. Without a driver no step blocks."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._sock: socket.socket | None = None
        self._tried = 0.0
        self._pending = b""
        self._armed: tuple[str, int] | None = None
        self._listing = False
        self._seen: Counter[str] = Counter()
        self._connect()

    def reach(self, label: str) -> Json:
        """Report that a step is about to happen; return what the driver decides."""
        self._poll()
        self._seen[label] += 1
        here = (label, self._seen[label])
        if self._listing:
            self._send({"step": here})
        if here != self._armed:
            return GO
        self._armed = None
        self._send({"at": here})
        verdict = self._answer()
        if verdict["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return verdict

    def _connect(self) -> None:
        self._tried = time.monotonic()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(SOCKET)
        except OSError:
            sock.close()
            return
        self._sock, self._pending = sock, b""
        self._send({"pid": os.getpid()})
        self._answer()

    def _poll(self) -> None:
        """Process the messages of the driver."""
        if self._sock is None:
            if time.monotonic() > self._tried + 0.1:
                self._connect()
            return
        with contextlib.suppress(BlockingIOError):
            while self._sock is not None:
                self._sock.settimeout(0)
                self._read()
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _answer(self) -> Json:
        """Return the next message of the driver."""
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._pending and self._sock is not None:
            self._sock.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                self._read()
            except TimeoutError:
                return GO
        if self._sock is None:
            return GO
        line, _, self._pending = self._pending.partition(b"\n")
        return self._take(json.loads(line))

    def _take(self, said: Json) -> Json:
        self.offset = said.get("offset", self.offset)
        if "arm" in said:
            self._seen.clear()
            self._armed = tuple(said["arm"]) if said["arm"] else None
            self._listing = said.get("listing", False)
        return {"do": "go"} | said

    def _read(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._sock.close()
            self._sock = None
        self._pending += data

    def _send(self, message: Json) -> None:
        if self._sock is None:
            return
        try:
            self._sock.settimeout(PATIENCE)
            self._sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._sock.close()
            self._sock = None


def of_bus(wire: Wire) -> None:
    """Add steps at calls and at their replies."""
    real = Bus.call

    async def call(
        self: Bus,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        **options: Any,
    ) -> list[Any]:
        label = _called(path, member, body or [])
        if label is None or is_neighbours(label.partition(" ")[2]):
            return await real(self, destination, path, interface, member, signature, body, **options)
        verdict = wire.reach(f"call {label}")["do"]
        if verdict == "error":
            raise BusError(FAILED, f"{interface}.{member} of {destination}: made to fail")
        reply = await real(self, destination, path, interface, member, signature, body, **options)
        verdict = wire.reach(f"reply {label}")
        if verdict["do"] == "delay":
            await asyncio.sleep(verdict["seconds"])
        elif verdict["do"] == "drop":
            await asyncio.sleep(LOST)
            raise BusError(NO_REPLY, f"{interface}.{member} of {destination}: no reply within {LOST:g} s")
        return reply

    Bus.call = call  # type: ignore[method-assign]


def _called(path: str, member: str, body: list[Any]) -> str | None:
    unit = ""
    if "/unit/" in path:
        if member == "Get" and body[1:] != ["ActiveState"]:
            return None
        unit = unit_name.path_decode(path.rpartition("/")[2])
    elif member in ("StartUnit", "StopUnit", "ResetFailedUnit"):
        unit = str(body[0])
    return f"{member} {re.sub(r'@[0-9]+', '@N', unit)}".strip()


def of_disk(wire: Wire) -> None:
    """Add a step before each change to a file system."""

    def counted(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def method(self: Disk, *arguments: Any) -> None:
            path = arguments[-1 if name in ("rename", "symlink") else 0]
            if not is_neighbours(str(path)):
                wire.reach(f"disk {name} {_what(path)}")
            real(self, *arguments)

        return method

    for name in ("write", "symlink", "directory", "rename", "sync", "remove"):
        setattr(Disk, name, counted(name, getattr(Disk, name)))


def _what(path: Path) -> str:
    for part in ("pins", "generations"):
        if part in path.parts:
            return f"in {part}"
    return "in state" if path.is_relative_to("/var/lib") else "unit"


class Connection(sqlite3.Connection):
    """A connection with a step before each statement that writes."""

    wire: Wire

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if found := _WRITES.match(sql):
            self.wire.reach(f"sqlite {found[1]} {found[2]}".strip())
        return super().execute(sql, *parameters)


def of_sqlite(wire: Wire) -> None:
    real = sqlite3.connect
    Connection.wire = wire
    sqlite3.connect = lambda *arguments, **options: real(*arguments, factory=Connection, **options)  # type: ignore[assignment]


def of_control(wire: Wire) -> None:
    """Add a step when a control loop wakes up."""
    real = Controller._turn

    async def turn(self: Controller) -> None:
        wire.loop = asyncio.get_running_loop()
        if self.name != NEIGHBOUR:
            wire.reach("wake")
        await real(self)

    Controller._turn = turn  # type: ignore[method-assign]


def of_programs(wire: Wire) -> None:
    real: Callable[..., Awaitable[asyncio.subprocess.Process]] = asyncio.create_subprocess_exec

    async def spawn(program: str, *arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        wire.reach(f"spawn {Path(program).name}")
        return await real(program, *arguments, **options)

    asyncio.create_subprocess_exec = spawn  # type: ignore[assignment]
    connect = asyncio.open_unix_connection

    async def dial(path: Any = None, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        wire.reach(f"dial {Path(path).parent.parent.name}")
        return await connect(path, **options)

    asyncio.open_unix_connection = dial


def of_steering(wire: Wire) -> None:
    bpf, getfd, sockets = syscalls.bpf, syscalls.pidfd_getfd, Diag._sockets

    def called(label: str) -> None:
        if wire.reach(label)["do"] == "error":
            raise OSError(errno.ENOMEM, "made to fail")

    def counted_bpf(command: int, attributes: ctypes.Structure) -> int:
        called(f"bpf {BPF.get(command, command)}")
        return bpf(command, attributes)

    def counted_getfd(pidfd: int, fd: int) -> int:
        called("pidfd_getfd")
        return getfd(pidfd, fd)

    def counted_sockets(self: Diag, states: Collection[State], port: int, condition: bytes = b"") -> Iterator[Any]:
        if threading.current_thread() is not threading.main_thread():
            return sockets(self, states, port, condition)  # the control loop has other steps meanwhile
        if wire.reach(f"sock_diag {min(states).name.lower()}")["do"] == "error":
            raise SteeringError("cannot request the sockets of the kernel (sock_diag): made to fail")
        return sockets(self, states, port, condition)

    syscalls.bpf, syscalls.pidfd_getfd, Diag._sockets = counted_bpf, counted_getfd, counted_sockets  # type: ignore[method-assign]


def log_tasks(wire: Wire) -> None:
    """Write the stacks of all tasks to the journal, for the driver, when the daemon is stuck."""
    for task in asyncio.all_tasks(wire.loop) if wire.loop is not None else ():
        task.print_stack(file=sys.stderr)


def run() -> int:
    wire = Wire()
    signal.signal(signal.SIGUSR1, lambda *_: log_tasks(wire))
    time.time = lambda: _now() + wire.offset
    for instrument in (of_bus, of_disk, of_sqlite, of_control, of_programs, of_steering):
        instrument(wire)
    return main.run()


if __name__ == "__main__":
    sys.exit(run())
