"""Colour, or none: the text functions say what a word means, this says how it looks."""

from __future__ import annotations

from typing import NamedTuple

CODES = {"good": "32", "busy": "33", "bad": "31", "dim": "2", "strong": "1"}

STATE_STYLES = {
    "ready": "good",
    "adopted": "good",
    "starting": "busy",
    "stopping": "busy",
    "failed": "bad",
    "stopped": "dim",
    "inactive": "dim",
    "freezing": "busy",
    "thawing": "busy",
    "standby": "dim",
}
RESULT_STYLES = {"succeeded": "good", "running": "busy", "failed": "bad", "rolled-back": "bad", "aborted": "busy"}


class Paint(NamedTuple):
    """Paints text for a terminal, or leaves it alone."""

    on: bool

    def __call__(self, style: str, text: str) -> str:
        code = CODES.get(style) if self.on and text else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text


PLAIN = Paint(on=False)
