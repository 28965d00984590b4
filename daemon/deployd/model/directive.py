"""Directives of systemd: what becomes of each where N instances run instead of one service. The table is a data file.

An app file may set directives of [Service] and [Socket], a drop-in of an administrator those of [Unit] as well.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).with_name("directives.toml")


FIXED = {"Restart": "an instance runs until it is stopped, whatever ended it"}
"""Directives of [service] whose value in the app file has no effect, because ours always counts, and why. With most
values of Restart= an app would have one instance less after each that ends with status 0."""


class Verdict(StrEnum):
    """What becomes of a directive."""

    FITS = "fits"
    """It works for N instances as it does for one service."""
    DEFAULT = "default"
    """It needs a value of ours, which the app file may replace."""
    SET = "set"
    """deployd sets it."""
    REFUSED = "refused"
    """It breaks instances."""


class Section(StrEnum):
    """The tables of an app file that contain directives, by their names there."""

    SERVICE = "service"
    SOCKET = "socket"


class Kind(StrEnum):
    """The kinds of units to which drop-ins apply, by their names in the data file."""

    INSTANCE = "instance"
    APP = "app"
    LISTENER = "listener"


@dataclass(frozen=True, slots=True)
class Directive:
    """A directive in one section."""

    name: str
    verdict: Verdict
    advice: str = ""
    """Why it is not allowed and what to do (SET, REFUSED), or the value (DEFAULT)."""
    expands: bool = False
    """True if systemd expands specifiers in it."""
    allowed: str = ""
    """A regular expression of the values that are allowed; "" for any."""
    otherwise: str = ""
    """Why other values are refused."""

    def problem(self, value: str) -> str:
        """Return why the app file must not have this value, or ""."""
        if self.verdict is Verdict.SET:
            return f"is set by deployd: {self.advice}"
        if self.verdict is Verdict.REFUSED:
            return f"is not possible: {self.advice}"
        if self.allowed and not re.fullmatch(self.allowed, value):
            return f'"{value}" is not possible: {self.otherwise}'
        return ""

    @property
    def is_command(self) -> bool:
        """True if its value is a command line, in which variables are expanded too."""
        return self.name.startswith("Exec") and self.name not in ("ExecPaths", "ExecSearchPath")


def find(section: Section, name: str) -> Directive | None:
    """Return a directive, or None for one of a newer systemd or of none."""
    return _sections()[section].get(name)


def names(section: Section) -> frozenset[str]:
    """Return all directives of a section."""
    return frozenset(_sections()[section])


def newer() -> frozenset[str]:
    """Return the directives that systemd 252 does not have."""
    return frozenset(_data()["newer"].split())


def broken(kind: Kind, section: str, name: str, value: str) -> str:
    """Return why a drop-in for a unit of this kind must not set `name` in `section` to `value`, or ""."""
    for pattern, (harmless, reason) in _data()[kind].items():
        if fnmatch.fnmatchcase(f"{section}.{name}", pattern) and not re.fullmatch(harmless, value):
            return str(reason)
    return ""


def defaults(section: Section) -> tuple[tuple[str, str], ...]:
    """Return the directives with a value of ours, as (name, value)."""
    return tuple((item.name, item.advice) for item in _sections()[section].values() if item.verdict is Verdict.DEFAULT)


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(_TABLE.read_text())


@cache
def _sections() -> dict[Section, dict[str, Directive]]:
    return {section: {item.name: item for item in _read(section)} for section in Section}


def _read(section: Section) -> list[Directive]:
    data, expands = _data(), frozenset(_data()["expands"].split())
    own = data[section]
    found = dict.fromkeys(f"{data['fits']} {own['fits']}".split(), (Verdict.FITS, ""))
    for verdict in (Verdict.DEFAULT, Verdict.SET, Verdict.REFUSED):
        found |= {name: (verdict, text) for name, text in own[verdict].items()}
    values = own["values"]
    return [
        Directive(name, verdict, text, name in expands, *values.get(name, ()))
        for name, (verdict, text) in sorted(found.items())
    ]
