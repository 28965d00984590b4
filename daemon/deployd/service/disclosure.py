"""What documents and errors tell those who may not read the journal: that there are lines, not what they say. Pure.

What processes wrote stands in documents as a list ``journal``, in compare as ``errors``, and below the sentence of an
error, one line each. All documents, signals and errors pass through here, so none of them has to think of it.
"""

from __future__ import annotations

from typing import Any

from deployd.config import one_line
from deployd.documents import Json
from deployd.errors import DeploydError

LINES = {"journal": "journal_lines", "errors": "error_lines"}
"""Key of a list of lines to the key of their number."""


def disclosed(document: Json, reads_journal: bool) -> Json:
    """The document with the number of lines beside each list of lines, which is empty for who may not read them."""
    found: Json = {}
    for key, value in document.items():
        if key in LINES and isinstance(value, list | tuple):
            found.setdefault(LINES[key], document.get(LINES[key], len(value)))
            found[key] = list(value) if reads_journal else []
        else:
            found[key] = _inside(value, reads_journal)
    return found


def has_lines(value: Any) -> bool:
    """True if there is a line anywhere in it."""
    if isinstance(value, dict):
        return any(
            bool(item) if key in LINES and isinstance(item, list | tuple) else has_lines(item)
            for key, item in value.items()
        )
    return isinstance(value, list | tuple) and any(map(has_lines, value))


def _inside(value: Any, reads_journal: bool) -> Any:
    if isinstance(value, dict):
        return disclosed(value, reads_journal)
    return [_inside(item, reads_journal) for item in value] if isinstance(value, list | tuple) else value


def error(raised: DeploydError, reads_journal: bool) -> DeploydError:
    """The error as a reply: a sentence that is bounded and clean, below it the lines, or how many there are."""
    sentence, lines = one_line(str(raised)), raised.lines
    if lines and not reads_journal:
        sentence, lines = f"{sentence} ({hint(len(lines))})", ()
    return type(raised)("\n".join([sentence, *map(one_line, lines)]))


def hint(count: int) -> str:
    """What stands in the place of lines."""
    return f"{count} line{'' if count == 1 else 's'} in the journal, for those who may read it"
