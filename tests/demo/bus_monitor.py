"""Monitors the machine's bus, to learn when a request reaches deployd."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tests.host.machine import Machine

DEADLINE = 10.0
PING = ("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Peer", "Ping")


class MonitorError(Exception):
    """The bus monitor does not work."""


class CallMonitor:
    """Monitors calls of one method by `busctl monitor`: `with CallMonitor(…) as monitor`."""

    def __init__(self, machine: Machine, method: str) -> None:
        self._machine, self._method = machine, method
        matches = [f"--match=type='method_call',member='{member}'" for member in (method, "Ping")]
        pipe = subprocess.PIPE
        self._process = machine.popen(["busctl", "monitor", "--json=short", *matches], stdout=pipe, stderr=pipe)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def __enter__(self) -> Self:
        """Wait until the monitor works, that is until it shows a call made for this purpose."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self._machine.run(PING, check=False)
            if self._next("Ping", 0.2):
                return self
        self.__exit__(None, None, None)
        raise MonitorError("busctl monitor does not show calls on the machine's bus")

    def called(self) -> float | None:
        """Return the time of the first call on CLOCK_MONOTONIC, None if there was none. Use it after the reply."""
        call = self._next(self._method, DEADLINE)
        return None if call is None else moment(call, time.time() - time.monotonic())

    def _next(self, member: str, within: float) -> Mapping[str, Any] | None:
        try:
            while True:
                call: Mapping[str, Any] = json.loads(self._lines.get(timeout=within))
                if call.get("member") == member:
                    return call
        except queue.Empty:
            return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(DEADLINE)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def moment(call: Mapping[str, Any], epoch: float) -> float:
    """Return the time of a call from the monitor's output; `epoch` is CLOCK_REALTIME at CLOCK_MONOTONIC 0."""
    return int(call["timestamp-realtime"]) / 1e6 - epoch
