"""Tells what happens: prose, commands, progress. Owns the stream; knows nothing of deployments."""

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
BODY = "  "  # before all that the demonstration itself says; what commands print starts at the margin
CLEAR = "\r\x1b[K"


class Narrator:
    """Eighty columns at most, colour and redrawn lines on a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.paint = paint_for(stream)
        self.width = min(WIDTH, shutil.get_terminal_size().columns) if stream.isatty() else WIDTH
        self._redraws = can_redraw(stream)
        self._unfinished = False

    def say(self, *lines: str) -> None:
        """Lines as they are. A line that was being redrawn makes room."""
        cleared = CLEAR if self._unfinished else ""
        self._unfinished = False
        self.stream.write(cleared + "".join(f"{line}\n" for line in lines))
        self.stream.flush()

    def heading(self, text: str, number: str = "") -> None:
        """A rule across the page, with the heading in it."""
        label = f"{number}  {text}" if number else text
        rule = "─" * max(self.width - columns(label) - 4, 0)
        self.say("", f"{self.paint('dim', '──')} {self.paint('strong', label)} {self.paint('dim', rule)}", "")

    def prose(self, text: str) -> None:
        """A paragraph."""
        self.say(*textwrap.wrap(text, self.width - len(BODY), initial_indent=BODY, subsequent_indent=BODY))

    def command(self, argv: Sequence[str]) -> None:
        """What is about to be run, as one would type it."""
        self.say("", self.paint("strong", f"$ {join(argv)}"))

    def quote(self, lines: Iterable[str]) -> None:
        """What somebody else wrote, on the side."""
        self.say(*(self.paint("dim", f"{BODY}{line}") if line else "" for line in lines))

    def folded(self, text: str) -> None:
        """A line of JSON that is too long to read, at the margin; each object of a list begins a line."""
        kept = text.replace('": ', '":\u00a0')  # textwrap breaks at ASCII's blanks only: a key stays with its value
        first, *objects = kept.replace("[{", "[\n{").replace("}, {", "},\n{").split("\n")
        for indent, part in [("", first), *((BODY, part) for part in objects)]:
            lines = textwrap.wrap(
                part, self.width, initial_indent=indent, subsequent_indent=indent + BODY, break_on_hyphens=False
            )
            self.say(*(line.replace("\u00a0", " ") for line in lines))

    def progress(self, text: str) -> None:
        """A line that the next one, or the next `say`, takes the place of. Nothing in a pipe."""
        if self._redraws:
            # Read anew each time: a line that is wrapped because the terminal became narrow cannot be taken back.
            room = os.get_terminal_size(self.stream.fileno()).columns or WIDTH
            self.stream.write(CLEAR + self.paint("dim", cut(BODY + text, room - 1)))
            self.stream.flush()
            self._unfinished = True

    def interrupted(self, text: str) -> None:
        """The last line, after a command may have been cut off in the middle of drawing, its cursor hidden."""
        self.say("\x1b[?25h" if self._redraws else "", text)

    def check(self, holds: bool, text: str) -> None:
        """A sentence with a mark in front of it."""
        mark = self.paint("good", "✓") if holds else self.paint("bad", "✗")
        first, *more = textwrap.wrap(text, self.width - 4) or [""]
        self.say(f"{BODY}{mark} {first}", *(f"{BODY}  {line}" for line in more))
