"""A drawing that is replaced in place on a terminal; the last one stays.

Escape sequences of ECMA-48 do it: every terminal has those that are used here, and no library is needed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

TICK = 0.25
"""Seconds between drawings when nothing happens, so that elapsed times advance and a resize is noticed."""

AFTERWARDS = 4
"""Lines left free by the last drawing, for the sentence below it and the prompt: nothing scrolls away."""

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
HOME, ERASE_BELOW, ERASE_LINE = "\x1b[H", "\x1b[J", "\x1b[K"

Draw = Callable[[int, int], list[str]]


class Screen:
    """``with Screen(draw) as screen``: `draw` returns the lines that fit into so many columns and lines."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._size: os.terminal_size | None = None
        self._lines = 0
        """Lines of the last drawing; the cursor is in the line below it."""
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        sys.stdout.write(HIDE_CURSOR)
        self._tick()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.draw(spare=AFTERWARDS)
        finally:
            sys.stdout.write(SHOW_CURSOR)
            sys.stdout.flush()

    def draw(self, spare: int = 1) -> None:
        """Replace the last drawing by one that leaves `spare` lines of the terminal free."""
        size = os.get_terminal_size(sys.stdout.fileno())
        lines = self._draw(size.columns or 80, (size.lines or 24) - spare)
        sys.stdout.write(self._back(size) + "".join(f"{ERASE_LINE}{line}\n" for line in lines) + ERASE_BELOW)
        sys.stdout.flush()
        self._size, self._lines = size, len(lines)

    def _back(self, size: os.terminal_size) -> str:
        """Return what moves the cursor to the first line of the last drawing, from behind a ^C that was echoed, too.

        A terminal that was resized may have wrapped its lines: where the drawing begins is unknown then, and the
        screen is cleared.
        """
        if self._size not in (None, size):
            return HOME + ERASE_BELOW
        return f"\r\x1b[{self._lines}A" if self._lines else "\r"

    def _tick(self) -> None:
        self.draw()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
