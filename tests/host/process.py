"""Waits for processes to end, by the event and not by asking again and again as Popen.wait does with a timeout."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def pidfd(pid: int) -> Iterator[int]:
    """A descriptor that can be read once `pid` has ended."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_end(process: subprocess.Popen[Any], timeout: float) -> int:
    """The exit status of a child. Raises TimeoutExpired."""
    if process.poll() is None:
        with pidfd(process.pid) as gone:
            poll = select.poll()
            poll.register(gone, select.POLLIN)
            if not poll.poll(timeout * 1000):
                raise subprocess.TimeoutExpired(process.args, timeout)
    return process.wait()
