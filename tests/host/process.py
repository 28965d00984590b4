"""Waits for processes to end without polling, unlike Popen.wait with a timeout."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def pidfd(pid: int) -> Iterator[int]:
    """Open a descriptor that becomes readable when `pid` has ended."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_end(process: subprocess.Popen[Any], timeout: float) -> int:
    """Return the exit status of a child. Raises TimeoutExpired."""
    if process.poll() is None:
        with pidfd(process.pid) as gone:
            poll = select.poll()
            poll.register(gone, select.POLLIN)
            if not poll.poll(timeout * 1000):
                raise subprocess.TimeoutExpired(process.args, timeout)
    return process.wait()
