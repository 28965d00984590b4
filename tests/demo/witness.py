"""When a call passes the machine's bus: a witness for the moment at which deployd is given a command."""

from __future__ import annotations

import json
import select
import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Self

DEADLINE = 10.0


class Witness:
    """Watches the bus for calls of one method, as `busctl monitor` shows them; `with Witness(…) as witness`."""

    def __init__(self, popen: Callable[..., subprocess.Popen[str]], interface: str, method: str) -> None:
        match = f"type='method_call',interface='{interface}',member='{method}'"
        pipe = subprocess.PIPE
        self._process = popen(["busctl", "monitor", "--json=short", "--match", match], stdout=pipe, stderr=pipe)

    def __enter__(self) -> Self:
        assert self._process.stderr is not None
        _line(self._process.stderr)  # "Monitoring bus message stream.": what is called from now on is seen
        return self

    def called(self) -> float | None:
        """When the first call came, on CLOCK_MONOTONIC; None if there was none. For after it was answered."""
        assert self._process.stdout is not None
        line = _line(self._process.stdout)
        return None if not line else moment(line, time.time() - time.monotonic())

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def moment(line: str, epoch: float) -> float:
    """From a line of the monitor; `epoch` is CLOCK_REALTIME at CLOCK_MONOTONIC 0."""
    return int(json.loads(line)["timestamp-realtime"]) / 1e6 - epoch


def _line(pipe: IO[str]) -> str:
    """The next one, "" if none comes."""
    return pipe.readline() if select.select([pipe], [], [], DEADLINE)[0] else ""
