"""Standard output for data, standard error for messages, colour on terminals only."""

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
"""Columns of a quoted line."""


def paint_for(stream: TextIO) -> Paint:
    """Return colours for a terminal, none for a pipe, with NO_COLOR (any value, no-color.org) or with TERM=dumb."""
    on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    return Paint(on)


def can_redraw(stream: TextIO) -> bool:
    """True if lines can be redrawn in place, with or without colour."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def width_of(stream: TextIO) -> int | None:
    """Return the columns of the terminal; None in a pipe, where nothing is cut."""
    return shutil.get_terminal_size((80, 24)).columns if stream.isatty() else None


def show(lines: Iterable[str]) -> None:
    """Print data; each line is flushed."""
    for line in lines:
        print(line, flush=True)


def show_json(value: Mapping[str, Any]) -> None:
    """Print one object on one line."""
    print(json.dumps(value), flush=True)


def message(text: str) -> None:
    """Print a message for the user."""
    print(printable(text), file=sys.stderr, flush=True)


def quote(lines: Iterable[str]) -> None:
    """Print output of another process, indented already, below a message."""
    for line in lines:
        print(verbatim(line, LONGEST), file=sys.stderr, flush=True)


def show_version() -> None:
    """Print the version."""
    from deployd import __version__

    show([f"deployd {__version__}"])
