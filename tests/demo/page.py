"""Prints the demonstration: prose, commands, progress. Owns the stream; knows nothing of deployments."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from shlex import join
from typing import TextIO

from deployd_cli.output import can_redraw, paint_for
from deployd_cli.text.words import columns, cut

WIDTH = 80
BODY = "  "  # indent of the demonstration's own text; output of commands is not indented
CLEAR = "\r\x1b[K"


class Page:
    """A page of at most eighty columns; with colours and redrawn lines on a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.paint = paint_for(stream)
        self.width = min(WIDTH, shutil.get_terminal_size().columns) if stream.isatty() else WIDTH
        self._redraws = can_redraw(stream)
        self._unfinished = False

    def say(self, *lines: str) -> None:
        """Print lines unchanged, in place of a line of progress."""
        cleared = CLEAR if self._unfinished else ""
        self._unfinished = False
        self.stream.write(cleared + "".join(f"{line}\n" for line in lines))
        self.stream.flush()

    def heading(self, text: str, number: str = "") -> None:
        """Print a heading within a rule across the page."""
        label = f"{number}  {text}" if number else text
        rule = "─" * max(self.width - columns(label) - 4, 0)
        self.say("", f"{self.paint('dim', '──')} {self.paint('strong', label)} {self.paint('dim', rule)}", "")

    def prose(self, text: str) -> None:
        """Print a paragraph."""
        self.say(*textwrap.wrap(text, self.width - len(BODY), initial_indent=BODY, subsequent_indent=BODY))

    def command(self, argv: Sequence[str]) -> None:
        """Print a command as it would be typed."""
        self.say("", self.paint("strong", f"$ {join(argv)}"))

    def quote(self, lines: Iterable[str]) -> None:
        """Print foreign text, indented and dim."""
        self.say(*(self.paint("dim", f"{BODY}{line}") if line else "" for line in lines))

    def folded(self, text: str) -> None:
        """Print a long line of JSON, wrapped; each object of a list begins a line."""
        kept = text.replace('": ', '":\u00a0')  # textwrap breaks at ASCII blanks only, so keys stay with their values
        first, *objects = kept.replace("[{", "[\n{").replace("}, {", "},\n{").split("\n")
        for indent, part in [("", first), *((BODY, part) for part in objects)]:
            lines = textwrap.wrap(
                part, self.width, initial_indent=indent, subsequent_indent=indent + BODY, break_on_hyphens=False
            )
            self.say(*(line.replace("\u00a0", " ") for line in lines))

    def progress(self, text: str) -> None:
        """Print a line that the next `progress` or `say` replaces; nothing in a pipe."""
        if self._redraws:
            # Read each time, because a line that wraps in a narrower terminal could not be cleared.
            room = os.get_terminal_size(self.stream.fileno()).columns or WIDTH
            self.stream.write(CLEAR + self.paint("dim", cut(BODY + text, room - 1)))
            self.stream.flush()
            self._unfinished = True

    def interrupted(self, text: str) -> None:
        """Print a last line after an interrupt, and show the cursor, which a command may have hidden."""
        self.say("\x1b[?25h" if self._redraws else "", text)

    def check(self, holds: bool, text: str) -> None:
        """Print the result of a check with a mark."""
        mark = self.paint("good", "✓") if holds else self.paint("bad", "✗")
        first, *more = textwrap.wrap(text, self.width - 4) or [""]
        self.say(f"{BODY}{mark} {first}", *(f"{BODY}  {line}" for line in more))
