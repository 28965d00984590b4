"""Where a mistake is: the text of an app file, its lines, and the sentence about one of its keys.

tomllib gives values without positions. Rather than a second TOML parser, a small scan finds the line on which
a key is assigned; where it cannot tell (inline tables, values over several lines) it names the line of the
closest key above, and none rather than a wrong one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from deployd.errors import InvalidFile

T = TypeVar("T")

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[\s*({_KEYS})\s*\]\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(rf"\s*({_KEYS})\s*=")
_MULTILINE = re.compile(r"\"\"\"|'''")


class Problem(Exception):
    """What is wrong with one value, without saying where. Converters raise it; `Table` adds file, line and key."""


@dataclass(frozen=True, slots=True)
class Source:
    """An app file's name and text."""

    file: str
    text: str

    def line(self, path: tuple[str, ...]) -> int | None:
        """The line that assigns the key `path`, or the closest key or table above it."""
        found: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        inside = ""
        for number, line in enumerate(self.text.splitlines(), 1):
            if not inside:
                if header := _HEADER.match(line):
                    table = _split(header[1])
                    found.setdefault(table, number)
                elif assignment := _ASSIGNMENT.match(line):
                    found.setdefault(table + _split(assignment[1]), number)
            for quote in _MULTILINE.findall(line):
                inside = quote if not inside else "" if quote == inside else inside
        while path and path not in found:
            path = path[:-1]
        return found.get(path)

    def fail(self, path: tuple[str, ...], problem: str) -> InvalidFile:
        """The error that names file, line, key and `problem`."""
        line = self.line(path)
        where = self.file if line is None else f"{self.file}:{line}"
        return InvalidFile(one_line(f"{where}: {show(path)}: {problem}"))


def _split(keys: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, keys))


def show(path: tuple[str, ...]) -> str:
    """A key as people write it: ``rollout.max_surge``, ``[service] MemoryMax``."""
    if len(path) > 1 and path[0] in ("service", "socket"):
        return f"[{path[0]}] {'.'.join(path[1:])}"
    return ".".join(path)


def one_line(text: str) -> str:
    """A sentence that quotes what others wrote, fit for terminals, logs and the bus: control characters escaped, long
    values cut short. What is too long is cut first: escaping takes time."""
    text = printable(text if len(text) <= 1000 else f"{text[:600]} … {text[-300:]}")
    return text if len(text) <= 1000 else f"{text[:600]} … {text[-300:]}"


def printable(text: str) -> str:
    """Text from the disk, fit for D-Bus, JSON and terminals: control characters and what is not UTF-8 are escaped."""
    return (
        text if text.isprintable() else "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)
    )


def _escaped(letter: str) -> str:
    # os.fsdecode makes U+DC80 to U+DCFF of bytes that are not UTF-8.
    return f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else ascii(letter)[1:-1]


class Table:
    """A TOML table being read: hands out values by key, then complains about the keys nobody asked for."""

    def __init__(self, source: Source, path: tuple[str, ...], raw: dict[str, Any]) -> None:
        self._source = source
        self._path = path
        self._raw = raw
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Does the file set `key`?"""
        return key in self._raw

    def get(self, key: str, convert: Callable[[Any], T], default: T) -> T:
        """The value of `key`, converted and checked."""
        self._known.add(key)
        return self.require(key, convert, "") if key in self._raw else default

    def require(self, key: str, convert: Callable[[Any], T], what: str) -> T:
        """As `get`, of a key that must be there; `what` shows how to write it."""
        if key not in self._raw:
            path = (*self._path, key)
            raise InvalidFile(f"{self._source.file}: {show(path)}: missing; add {what}")
        self._known.add(key)
        try:
            return convert(self._raw[key])
        except Problem as problem:
            raise self.fail(key, str(problem)) from None

    def table(self, key: str) -> Table:
        """The table below `key`; an empty one if there is none."""
        self._known.add(key)
        raw = self._raw.get(key, {})
        if not isinstance(raw, dict):
            raise self.fail(key, f"must be a table, not {kind(raw)}; write it as [{'.'.join((*self._path, key))}]")
        return Table(self._source, (*self._path, key), raw)

    def items(self) -> Iterable[tuple[str, Any]]:
        """All keys and values, of a table whose keys are the user's."""
        self._known.update(self._raw)
        return self._raw.items()

    def fail(self, key: str, problem: str) -> InvalidFile:
        """The error about the value of `key`; about the table itself when it is ""."""
        return self._source.fail((*self._path, key) if key else self._path, problem)

    def finish(self, elsewhere: dict[str, str] | None = None) -> None:
        """Refuse unknown keys. `elsewhere` tells in which table a key that is misplaced here belongs."""
        for key in self._raw:
            if key in self._known:
                continue
            where = f"in [{'.'.join(self._path)}]" if self._path else "at the top level"
            close = difflib.get_close_matches(key, sorted(self._known), n=1)
            if elsewhere and key in elsewhere and not close:
                hint = f"it belongs in {elsewhere[key]}"
            elif close:
                hint = f"did you mean {close[0]}?"
            else:
                hint = f"allowed are {', '.join(sorted(self._known))}"
            raise self.fail(key, f"unknown key {where}; {hint}")


def kind(value: object) -> str:
    """What a TOML value is, in TOML's words."""
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a float"),
        (str, "a string"),
        (list, "an array"),
        (dict, "a table"),
    )
    return next((name for type_, name in names if isinstance(value, type_)), "a date or time")
