"""What a page in docs/ has its reader do, from its beginning to its end: commands to type, with what they print, and
files to save.

`python3 -m tests.docs.walk PAGE PATH` prints the file that the page says to save at PATH; it needs Python only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docs.typed import Typed, typed

DOCS = Path(__file__).resolve().parents[2] / "docs"

PART = re.compile(
    r"^Save this as `(?P<path>[^`]+)`:\n\n```\w+\n(?P<text>.*?)^```$|^```console\n(?P<typed>.*?)^```$", re.M | re.S
)

SAVE = 'save() { (cd /usr/src/deployd; python3 -m tests.docs.walk "$@") >"$2"; }'
"""Defines what saves a file of a page, in a shell on a host."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A file."""

    path: str
    text: str


def steps(page: str) -> Iterator[Typed | Saved]:
    """Yield what is to be done, in order."""
    for part in PART.finditer((DOCS / page).read_text(encoding="utf-8")):
        if part["path"]:
            yield Saved(part["path"], part["text"])
        else:
            yield from typed(part["typed"])


if __name__ == "__main__":
    files = (item for item in steps(sys.argv[1]) if isinstance(item, Saved) and item.path == sys.argv[2])
    sys.stdout.write(next(files).text)
