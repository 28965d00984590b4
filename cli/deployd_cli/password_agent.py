"""polkit's agent for a terminal, which asks for a password there, as for systemctl(1)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

READY_TIMEOUT = 5.0
"""Seconds that the agent has to register with polkit."""
END_TIMEOUT = 2.0
"""Seconds that it has to restore the terminal."""


class PasswordAgent:
    """A context in which polkit may ask for a password, if a person can answer: cron and CI have no terminal."""

    allowed = True
    """False with --no-ask-password."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> bool:
        """Return whether polkit may ask. If so, run pkttyagent(1), once, which asks on behalf of its parent process."""
        if not self.allowed or sys.stdin is None or not sys.stdin.isatty():
            return False
        if self._process is None and os.geteuid() != 0:
            registered, notify = os.pipe()
            try:
                self._run(notify)
                await _closed(registered)
            finally:
                os.close(registered)
        return True

    def _run(self, notify: int) -> None:
        """Run the agent. When it has registered, or cannot, nothing has the other end of the pipe `notify` open."""
        # It must not outlive a command that is killed.
        argv = ["setpriv", "--pdeathsig", "TERM", "pkttyagent", "--fallback", "--notify-fd", str(notify)]
        null = subprocess.DEVNULL
        # Without these programs, polkit has the agent of a desktop, or none.
        with contextlib.suppress(OSError):
            # Not asyncio's, which writes to the terminal if SIGCHLD is ignored, as below some su(1).
            self._process = subprocess.Popen(argv, pass_fds=[notify], stdin=null, stdout=null, stderr=null)
        os.close(notify)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._process.send_signal(number)
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()


async def _closed(pipe: int) -> None:
    """Wait until the other end of the pipe is closed, for READY_TIMEOUT at most."""
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe, closed.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closed.wait(), READY_TIMEOUT)
    finally:
        loop.remove_reader(pipe)
