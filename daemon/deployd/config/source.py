"""Locates mistakes: the text of an app file, the lines of its keys, and the sentence about one of them.

tomllib returns values without positions. Instead of a second TOML parser, a small scan finds the line on which a key is
assigned. Where it cannot (inline tables, values over several lines), it returns the line of the closest key above, and
none rather than a wrong one.
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
    """What is wrong with one value. Converters raise it; `Table` adds file, line and key."""


@dataclass(frozen=True, slots=True)
class Source:
    """Path and text of an app file."""

    file: str
    text: str

    def line(self, path: tuple[str, ...]) -> int | None:
        """Return the line that assigns the key `path`, or else the closest key or table above it."""
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
        """Return the error that names file, line, key and `problem`."""
        line = self.line(path)
        where = self.file if line is None else f"{self.file}:{line}"
        return InvalidFile(one_line(f"{where}: {show(path)}: {problem}"))


def _split(keys: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, keys))


def show(path: tuple[str, ...]) -> str:
    """Return a key as it is written: ``rollout.max_surge``, ``[service] MemoryMax``."""
    at = 2 if path[0] == "process" else 0
    if len(path) > at + 1 and path[at] in ("service", "socket"):
        return f"[{'.'.join(path[: at + 1])}] {'.'.join(path[at + 1 :])}"
    return ".".join(path)


def one_line(text: str) -> str:
    """Make a sentence that quotes foreign text safe for terminals, logs and the bus.

    Control characters are escaped and long text is shortened, first of all, because escaping takes time.
    """
    text = printable(text if len(text) <= 1000 else f"{text[:600]} … {text[-300:]}")
    return text if len(text) <= 1000 else f"{text[:600]} … {text[-300:]}"


def printable(text: str) -> str:
    """Escape control characters and bytes that are not UTF-8, for D-Bus, JSON and terminals."""
    return (
        text if text.isprintable() else "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)
    )


def _escaped(letter: str) -> str:
    # os.fsdecode turns bytes that are not UTF-8 into U+DC80 to U+DCFF.
    return f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else ascii(letter)[1:-1]


class Table:
    """A TOML table being read: returns values by key, and in the end refuses the keys that were not read."""

    def __init__(self, source: Source, path: tuple[str, ...], raw: dict[str, Any]) -> None:
        self._source = source
        self._path = path
        self._raw = raw
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """True if the file sets `key`."""
        return key in self._raw

    def get(self, key: str, convert: Callable[[Any], T], default: T) -> T:
        """Return the value of `key`, converted and checked."""
        self._known.add(key)
        return self.require(key, convert, "") if key in self._raw else default

    def require(self, key: str, convert: Callable[[Any], T], what: str) -> T:
        """Like `get`, for a mandatory key; `what` shows how to write it."""
        if key not in self._raw:
            path = (*self._path, key)
            raise InvalidFile(f"{self._source.file}: {show(path)}: missing; add {what}")
        self._known.add(key)
        try:
            return convert(self._raw[key])
        except Problem as problem:
            raise self.fail(key, str(problem)) from None

    def table(self, key: str) -> Table:
        """Return the table below `key`; an empty one if there is none."""
        self._known.add(key)
        raw = self._raw.get(key, {})
        if not isinstance(raw, dict):
            raise self.fail(key, f"must be a table, not {kind(raw)}; write it as [{'.'.join((*self._path, key))}]")
        return Table(self._source, (*self._path, key), raw)

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return all keys and values of a table with arbitrary keys."""
        self._known.update(self._raw)
        return self._raw.items()

    def fail(self, key: str, problem: str) -> InvalidFile:
        """Return the error about the value of `key`, or about the table itself if `key` is ""."""
        return self._source.fail((*self._path, key) if key else self._path, problem)

    def finish(self, elsewhere: dict[str, str] | None = None) -> None:
        """Refuse unknown keys. `elsewhere` maps misplaced keys to the table in which they belong."""
        for key in self._raw:
            if key in self._known:
                continue
            where = f"in [{'.'.join(self._path)}]" if self._path else "at the top level"
            close = difflib.get_close_matches(key, sorted(self._known), n=1)
            if elsewhere and key in elsewhere:
                hint = f"it belongs in {elsewhere[key]}"
            elif close:
                hint = f"did you mean {close[0]}?"
            else:
                hint = f"allowed are {', '.join(sorted(self._known))}"
            raise self.fail(key, f"unknown key {where}; {hint}")


def kind(value: object) -> str:
    """Return the type of a TOML value in the terms of TOML."""
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a float"),
        (str, "a string"),
        (list, "an array"),
        (dict, "a table"),
    )
    return next((name for type_, name in names if isinstance(value, type_)), "a date or time")
