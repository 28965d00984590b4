"""Removes journal lines from what is sent to callers that may not see them, leaving their number. Pure.

Documents contain what processes wrote as a list ``journal``, that of compare as ``errors``; errors have it below their
sentence, one line each. All documents, signals and errors pass through this module.
"""

from __future__ import annotations

from typing import Any

from deployd.config import one_line
from deployd.documents import Json
from deployd.errors import DeploydError

LINES = {"journal": "journal_lines", "errors": "error_lines"}
"""Key of a list of lines, and the key of their number."""


def disclosed(document: Json, reads_logs: bool) -> Json:
    """Return the document with the number of lines next to each list, which is empty unless `reads_logs`."""
    found: Json = {}
    for key, value in document.items():
        if key in LINES and isinstance(value, list | tuple):
            found.setdefault(LINES[key], document.get(LINES[key], len(value)))
            found[key] = list(value) if reads_logs else []
        else:
            found[key] = _inside(value, reads_logs)
    return found


def has_lines(value: Any) -> bool:
    """True if a document or value contains a line."""
    if isinstance(value, dict):
        return any(
            bool(item) if key in LINES and isinstance(item, list | tuple) else has_lines(item)
            for key, item in value.items()
        )
    return isinstance(value, list | tuple) and any(map(has_lines, value))


def _inside(value: Any, reads_logs: bool) -> Any:
    if isinstance(value, dict):
        return disclosed(value, reads_logs)
    return [_inside(item, reads_logs) for item in value] if isinstance(value, list | tuple) else value


def error(raised: DeploydError, reads_logs: bool) -> DeploydError:
    """Return the error as a reply: a short, printable sentence, and below it the lines, or their number."""
    sentence, lines = one_line(str(raised)), raised.lines
    if lines and not reads_logs:
        sentence, lines = f"{sentence} ({hint(len(lines))})", ()
    return type(raised)("\n".join([sentence, *map(one_line, lines)]))


def hint(count: int) -> str:
    """Return the text that replaces lines."""
    return f"{count} line{'' if count == 1 else 's'} in the journal, which you may not read"
