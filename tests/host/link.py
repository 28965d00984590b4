"""The owner's end of the pipe to a supervisor: starts it, sends requests, and ends it with its host by closing it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from typing import IO, Any

from tests.host.process import wait_end
from tests.host.root import CHECKOUT
from tests.host.spec import Spec

SPARE = 30.0  # additional seconds for the supervisor to clean up after a failed boot


class MachineError(Exception):
    """A host cannot be booted, or a request to it failed."""


class Link:
    """One supervisor."""

    def __init__(self, spec: Spec) -> None:
        command = ["unshare", "--mount", "--propagation", "private", "--"]
        command += [sys.executable, "-m", "tests.host.supervisor", spec.to_json()]
        self.name = spec.name
        # In a session of its own, because ^C and hang-up of a terminal are for the owner.
        self.supervisor = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT, start_new_session=True
        )

    def ask(self, what: str, timeout: float) -> dict[str, Any]:
        """Send one request and return its reply."""
        pipe = _open(self.supervisor.stdin)
        try:
            pipe.write(json.dumps({"do": what, "timeout": timeout}).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise MachineError(f"the supervisor of {self.name} has ended") from None
        return self.answer(timeout + SPARE)

    def answer(self, timeout: float) -> dict[str, Any]:
        """Return the next reply. Raises MachineError for an error."""
        pipe = _open(self.supervisor.stdout)
        deadline = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
                raise MachineError(f"the supervisor of {self.name} did not reply within {timeout:g} s")
            data = os.read(pipe.fileno(), 65536)
            if not data:
                raise MachineError(f"the supervisor of {self.name} has ended")
            line += data
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MachineError(f"{self.name}: {answer['error']}")
        return answer

    def close(self, timeout: float) -> None:
        """End the supervisor and wait until it has cleaned up; do nothing if it has ended."""
        for pipe in (self.supervisor.stdin, self.supervisor.stdout):
            if pipe:
                pipe.close()
        wait_end(self.supervisor, timeout)


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None or pipe.closed:
        raise MachineError("the host has been removed")
    return pipe
