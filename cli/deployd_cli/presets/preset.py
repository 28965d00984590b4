"""A preset: what its server can do, and by what it is recognised. Pure: from the text of preset.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployd.errors import InvalidFile

SOCKETS = {
    "inherited": "passed (fd 3)",
    "port": "a port of its own",
    "either": "either",
    "none": "none, serves no clients",
}
"""How a server gets its listening socket: as file descriptor 3, at $PORT, as the program was written, or not at all."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
ECOSYSTEMS = ("go", "java", "node", "php", "python", "ruby", "rust")


@dataclass(frozen=True, slots=True)
class Rule:
    """By what a release is recognised. All of its conditions must hold."""

    rank: int
    """1 to 99; the preset with the highest rank is proposed."""
    packages: tuple[str, ...] = ()
    """Dependencies, each ``ECOSYSTEM:NAME``."""
    file: str = ""
    """A pattern of fnmatch(3) that the path of a file matches."""
    command: tuple[str, ...] = ()
    """Words of a start command, such as the web line of a Procfile; the first is the name of a program."""
    value: str = ""
    """A value that the readers have found."""
    mark: str = ""
    """A property that the readers have found in the source code."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A value of the template that the readers may find, and what it is if they do not."""

    default: str
    what: str
    """What the user has to check if the default was taken."""
    look_for: tuple[str, ...] = ()
    """Programs of the machine, as patterns of glob(3); the last match of the first that has one is taken."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """How many requests failed in rollouts under load."""

    server: str
    routing: str
    requests: int
    failed: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Preset:
    """What preset.toml says. The texts are for users."""

    name: str
    title: str
    summary: str
    socket: str
    gate: str
    keep_alive: str
    websockets: str
    stop: str
    versions: str
    serves_all: bool
    """True if the server serves every socket that it is passed, and so a private one for its probe, too."""
    notes: tuple[str, ...]
    requires: tuple[str, ...]
    """Packages of which one must be in the release, each ``ECOSYSTEM:NAME``."""
    instances: int
    """The number of instances to propose; 0 for one per processor."""
    measured: tuple[Measurement, ...]
    guesses: Mapping[str, Guess]
    rules: tuple[Rule, ...]


def parse(name: str, text: str, file: str) -> Preset:
    """Return the preset that `text` describes. Raises InvalidFile with one sentence."""
    if not NAME.fullmatch(name):
        raise InvalidFile(f"{file}: the name of a preset has up to 31 lower-case letters, digits and -; rename {name}")
    try:
        top = _Table(file, "", tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidFile(f"{file}: is not valid TOML: {error}; correct the syntax there") from None
    preset = Preset(
        name=name,
        **{key: top.text(key) for key in ("title", "summary", "gate", "keep_alive", "websockets", "stop", "versions")},
        socket=top.text("socket", SOCKETS),
        serves_all=top.flag("serves_all"),
        notes=top.texts("notes"),
        requires=tuple(map(top.package, top.texts("requires"))),
        instances=top.number("instances", 0, 500),
        measured=tuple(map(_measurement, top.tables("measured"))),
        guesses={key: _guess(table) for key, table in top.named_tables("values")},
        rules=tuple(map(_rule, top.tables("detect"))),
    )
    top.finish()
    return preset


def _rule(table: _Table) -> Rule:
    rule = Rule(
        rank=table.number("rank", 1, 99),
        packages=tuple(map(table.package, table.texts("package"))),
        file=table.text("file", default=""),
        command=tuple(table.text("command", default="").split()),
        value=table.text("value", default=""),
        mark=table.text("mark", default=""),
    )
    table.finish()
    if not (rule.packages or rule.file or rule.command or rule.value or rule.mark):
        raise table.fail("detect", "has no condition; add package, file, command, value or mark")
    return rule


def _guess(table: _Table) -> Guess:
    guess = Guess(table.text("default", default=""), table.text("what"), table.texts("look_for"))
    table.finish()
    return guess


def _measurement(table: _Table) -> Measurement:
    found = Measurement(
        server=table.text("server"),
        routing=table.text("routing"),
        requests=table.number("requests", 0, 10**9),
        failed=table.number("failed", 0, 10**9),
        note=table.text("note", default=""),
    )
    table.finish()
    return found


class _Table:
    """A table that is being read; in the end, keys that were not read are refused."""

    def __init__(self, file: str, path: str, raw: Mapping[str, Any]) -> None:
        self._file, self._path, self._raw = file, path, raw
        self._known: set[str] = set()

    def fail(self, key: str, problem: str) -> InvalidFile:
        return InvalidFile(f"{self._file}: {self._path}{key}: {problem}")

    def _take(self, key: str) -> Any:
        self._known.add(key)
        return self._raw.get(key)

    def text(self, key: str, allowed: Mapping[str, str] | None = None, default: str | None = None) -> str:
        value = self._take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise self.fail(key, f'must be one line of text; write it as {key} = "…"')
        if allowed is not None and value not in allowed:
            raise self.fail(key, f'must be one of {", ".join(allowed)}, not "{value}"')
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of texts; one text is an array, too."""
        value = self._take(key)
        items = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) and item.strip() and item.isprintable() for item in items):
            raise self.fail(key, f'must be an array of texts; write it as {key} = ["…"]')
        return tuple(items)

    def package(self, text: str) -> str:
        ecosystem, colon, name = text.partition(":")
        if not colon or not name or ecosystem not in ECOSYSTEMS:
            raise self.fail("package", f'"{text}" is no package; write ECOSYSTEM:NAME, with {", ".join(ECOSYSTEMS)}')
        return text

    def flag(self, key: str) -> bool:
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            raise self.fail(key, "must be true or false")
        return bool(value)

    def number(self, key: str, least: int, most: int) -> int:
        value = self._take(key)
        if value is None and least == 0:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.fail(key, f"must be a number from {least} to {most}")
        return value

    def tables(self, key: str) -> list[_Table]:
        value = self._take(key)
        items = [] if value is None else value
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self.fail(key, f"must be tables; write each as [[{key}]]")
        return [_Table(self._file, f"{key}[{number}].", item) for number, item in enumerate(items)]

    def named_tables(self, key: str) -> list[tuple[str, _Table]]:
        value = self._take(key)
        tables = {} if value is None else value
        if not isinstance(tables, dict) or not all(isinstance(item, dict) for item in tables.values()):
            raise self.fail(key, f"must be tables; write each as [{key}.NAME]")
        return [(name, _Table(self._file, f"{key}.{name}.", item)) for name, item in tables.items()]

    def finish(self) -> None:
        for key in self._raw:
            if key not in self._known:
                raise self.fail(key, f"unknown key; allowed are {', '.join(sorted(self._known))}")
