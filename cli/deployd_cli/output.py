"""Standard output and standard error: data here, messages there, colour on terminals only."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from deployd_cli.text.paint import Paint
from deployd_cli.text.words import printable, verbatim

LONGEST = 1000
"""Columns of a line that is quoted."""


def paint_for(stream: TextIO) -> Paint:
    """Colour for a terminal, unless NO_COLOR (any value, no-color.org) or TERM says otherwise."""
    on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    return Paint(on)


def can_redraw(stream: TextIO) -> bool:
    """Whether lines can be drawn over again, which needs no colour."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def width_of(stream: TextIO) -> int | None:
    """Columns to keep to; None in a pipe, where nothing is cut."""
    return shutil.get_terminal_size((80, 24)).columns if stream.isatty() else None


def show(lines: Iterable[str]) -> None:
    """Data, each line on its way at once."""
    for line in lines:
        print(line, flush=True)


def show_json(value: Mapping[str, Any]) -> None:
    """One object, on one line."""
    print(json.dumps(value), flush=True)


def message(text: str) -> None:
    """A sentence for the user."""
    print(printable(text), file=sys.stderr, flush=True)


def quote(lines: Iterable[str]) -> None:
    """What somebody else wrote, indented already, below a message."""
    for line in lines:
        print(verbatim(line, LONGEST), file=sys.stderr, flush=True)


def say_version() -> None:
    from deployd import __version__

    show([f"deployd {__version__}"])
