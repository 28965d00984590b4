"""Colours: the text functions give a word a meaning, and Paint gives the meaning a colour."""

from __future__ import annotations

from typing import NamedTuple

CODES = {"good": "32", "busy": "33", "bad": "31", "dim": "2", "strong": "1"}

STATE_STYLES = {
    "ready": "good",
    "adopted": "good",
    "starting": "busy",
    "stopping": "busy",
    "draining": "busy",
    "failed": "bad",
    "unreachable": "bad",
    "stopped": "dim",
    "inactive": "dim",
    "freezing": "busy",
    "thawing": "busy",
    "standby": "dim",
}
RESULT_STYLES = {"succeeded": "good", "running": "busy", "failed": "bad", "rolled-back": "bad", "aborted": "busy"}


class Paint(NamedTuple):
    """Colours text for a terminal, or returns it unchanged."""

    on: bool

    def __call__(self, style: str, text: str) -> str:
        code = CODES.get(style) if self.on and text else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text


PLAIN = Paint(on=False)
