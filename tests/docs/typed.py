"""What pages have their readers type on a terminal, and what is the same each time that it is typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TIME = re.compile(r"\b\d+(\.\d+)? (s|min)\b")
DATE = re.compile(
    r"\b\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?\b|\b[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d\b|\b\d\d:\d\d:\d\d\b"
    r"|\b\d+ [A-Z][a-z]{2} \d\d:\d\d\b"
)


@dataclass(frozen=True, slots=True)
class Typed:
    """A command and what it prints."""

    command: str
    output: str


def typed(block: str) -> Iterator[Typed]:
    """Yield the commands of a block: each is on a line of its own, below which is what it prints."""
    for part in re.split(r"^# ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield Typed(command, output)


def normal(lines: Iterable[str]) -> Iterator[str]:
    """Return the lines with T for times, D for dates and P for process IDs."""
    column = None
    for line in lines:
        words = re.split(r"\s{2,}", DATE.sub("D", TIME.sub("T", line)).strip())
        if "PID" in words:
            column = words.index("PID")
        elif words == [""]:
            column = None
        elif column is not None:
            words[column] = "P"
        yield " ".join(words)
