"""A pseudo-terminal for a command that another process runs, connected to the terminal of the user."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import termios
import tty
from types import TracebackType
from typing import Self

MOST = 1 << 14
"""Bytes to copy at a time."""


class PseudoTerminal:
    """Copies between the user's terminal and the pseudo-terminal within the context. `slave` is the command's side."""

    def __init__(self) -> None:
        self._user_in, self._user_out = sys.stdin.fileno(), sys.stdout.fileno()
        self._master, self.slave = os.openpty()
        self._typed = b""

    def __enter__(self) -> Self:
        self._settings = termios.tcgetattr(self._user_in)
        self._loop = asyncio.get_running_loop()
        self._resize()
        os.set_blocking(self._master, False)
        # The pseudo-terminal makes signals and lines of what is typed. What was typed already is kept.
        tty.setraw(self._user_in, termios.TCSADRAIN)
        self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
        self._loop.add_reader(self._user_in, self._read_user)
        self._loop.add_reader(self._master, self._read_command)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for descriptor in (self._user_in, self._master):
            self._loop.remove_reader(descriptor)
        self._loop.remove_writer(self._master)
        self._loop.remove_signal_handler(signal.SIGWINCH)
        os.close(self.slave)
        while self._read_command():
            pass
        os.close(self._master)
        termios.tcsetattr(self._user_in, termios.TCSADRAIN, self._settings)

    def _resize(self) -> None:
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(self._user_in, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _read_user(self) -> None:
        data = os.read(self._user_in, MOST)
        if not data:  # the user's terminal is gone
            self._loop.remove_reader(self._user_in)
            return
        self._typed += data
        self._write_command()

    def _write_command(self) -> None:
        """Pass on what was typed; while the command does not read, read no more of it."""
        with contextlib.suppress(BlockingIOError):
            self._typed = self._typed[os.write(self._master, self._typed) :]
        if self._typed:
            self._loop.remove_reader(self._user_in)
            self._loop.add_writer(self._master, self._write_command)
        else:
            self._loop.remove_writer(self._master)
            self._loop.add_reader(self._user_in, self._read_user)

    def _read_command(self) -> bool:
        """Show what the command has written; False if there is nothing."""
        try:
            data = os.read(self._master, MOST)
        except OSError:  # EIO: no process has it open
            return False
        written = 0
        while written < len(data):
            written += os.write(self._user_out, data[written:])
        return bool(data)
