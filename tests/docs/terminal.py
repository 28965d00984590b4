"""`make shell` on a terminal: typed into, and read as it stands on the screen when a command has ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyte

from tests.docs.readme import CHECKOUT

COLUMNS, LINES = 100, 50
PROMPT = "root@deployd:~# "
DEADLINE = 60.0


class TerminalError(Exception):
    """The screen never showed what was waited for."""


class Terminal:
    """A context manager: inside, the host is up and the shell at its prompt; afterwards both are gone."""

    def __init__(self) -> None:
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._shell = subprocess.Popen(
            [sys.executable, "-m", "tests.host.shell"],
            cwd=CHECKOUT,
            env=os.environ | {"TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.greeting: list[str] = []

    def __enter__(self) -> Self:
        try:
            self.greeting = self._lines(_at_prompt)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def type(self, command: str) -> list[str]:
        """Type a command and return the lines below it when the prompt is back."""
        self._write(f"{command}\r")
        lines = self._lines(_at_prompt)
        taken = 1 + (len(PROMPT) + len(command) - 1) // COLUMNS
        if (echo := "".join(lines[:taken])) != command:
            raise TerminalError(f"{command!r} reads {echo!r} on the screen")
        return lines[taken:]

    def picture(self, command: str, wanted: str = "") -> pyte.Screen:
        """Type a command; return the screen as it is when the prompt is back or, before that, when it has `wanted`."""
        self._write(f"{command}\r")
        if not wanted:
            return self._screen(_at_prompt)
        found = self._screen(lambda screen: any(wanted in line for line in screen.display))
        self._screen(_at_prompt)
        return found

    def complete(self, beginning: str) -> str:
        """Press Tab after the beginning of a command, and return the line without what the next one begins with."""
        self._write(f"{beginning}\t")
        [line] = self._lines(lambda screen: screen.cursor.x > len(beginning) and _before_cursor(screen) == " ")
        self._write("\x15\r")  # ^U takes the line away
        self._lines(_at_prompt)
        return line

    def close(self) -> None:
        """Leave the shell, which takes the host away."""
        with contextlib.suppress(OSError):
            self._write("\x15\x04")  # an empty line ends it
            while select.select([self._fd], [], [], DEADLINE)[0] and os.read(self._fd, 65536):
                pass
        os.close(self._fd)
        try:
            self._shell.wait(DEADLINE)
        finally:
            self._shell.kill()

    def _write(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def _lines(self, reached: Callable[[pyte.Screen], bool]) -> list[str]:
        """Return what is drawn until the screen is as wanted: the lines above the cursor's and, if it has more than the
        prompt, that line too."""
        screen = self._screen(reached)
        lines = [line.rstrip() for line in screen.display[: screen.cursor.y + 1]]
        return lines[:-1] if _at_prompt(screen) else lines

    def _screen(self, reached: Callable[[pyte.Screen], bool]) -> pyte.Screen:
        """Draw what arrives on an empty screen until it is as wanted."""
        screen = pyte.Screen(COLUMNS, LINES)
        stream = pyte.ByteStream(screen)
        deadline = time.monotonic() + DEADLINE
        while not reached(screen):
            if not select.select([self._fd], [], [], max(deadline - time.monotonic(), 0))[0]:
                shown = "\n".join(screen.display).rstrip()
                raise TerminalError(f"waited {DEADLINE:g} s for something else than this:\n{shown}")
            stream.feed(os.read(self._fd, 65536))
        return screen


def _at_prompt(screen: pyte.Screen) -> bool:
    line = screen.display[screen.cursor.y]
    return line.startswith(PROMPT) and screen.cursor.x == len(PROMPT) and not line[len(PROMPT) :].strip()


def _before_cursor(screen: pyte.Screen) -> str:
    return screen.display[screen.cursor.y][screen.cursor.x - 1]
