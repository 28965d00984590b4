"""Lines drawn in place on a terminal; the last drawing stays. The only module that imports rich, for 60 ms."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

TICK = 0.25
"""Seconds between drawings when nothing happens, so that elapsed times move and a resized terminal is noticed."""

AFTERWARDS = 4
"""Lines left free by the last drawing, for the sentence below it and the prompt: nothing scrolls away."""

Draw = Callable[[int, int], list[str]]


class Screen:
    """``with Screen(draw) as screen``: `draw` gets columns and lines to fill, again and again."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        # The lines come painted or not, as NO_COLOR and TERM want it; rich only moves the cursor.
        self._console = Console(
            file=sys.stdout, color_system="standard", no_color=False, highlight=False, markup=False, emoji=False
        )
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._live.start()
        self._tick()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.draw(spare=AFTERWARDS)
        finally:
            self._live.stop()

    def draw(self, spare: int = 1) -> None:
        """Fill the terminal but for `spare` lines."""
        columns, lines = os.get_terminal_size(self._console.file.fileno())
        text = Text.from_ansi(
            "\n".join(self._draw(columns or 80, (lines or 24) - spare)), no_wrap=True, overflow="crop"
        )
        self._live.update(text, refresh=True)

    def _tick(self) -> None:
        self.draw()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
