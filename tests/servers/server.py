"""A real server and its app: the app file, the files of a release, and where the server comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

APPS = Path(__file__).parent / "apps"
PYTHON = "/usr/bin/python3"


class Behaviour(StrEnum):
    """What a release does; each release has it in its file `behaviour`."""

    GOOD = "good"
    CRASH = "crash"
    """Fails when it is loaded."""
    LATE = "late"
    """Cannot be imported, which shows a second after the server itself has started."""
    ERRORS = "errors"
    """Answers 500 to everything."""
    HANG = "hang"
    """Never gets ready."""


BAD = (Behaviour.CRASH, Behaviour.LATE, Behaviour.ERRORS, Behaviour.HANG)


@dataclass(frozen=True, slots=True)
class Server:
    """One row of the table."""

    name: str
    title: str
    preset: str
    """The preset whose app file is proven."""
    settings: Mapping[str, Any]
    """What a user would change in that file."""
    files: Mapping[str, Path | str]
    """The files of a release: the source of each, or its text."""
    version: str
    """A command for the host's shell that prints the version of the server as its last word."""
    debian: tuple[str, ...] = ()
    """Debian packages that the host needs besides those of packaging/bootstrap."""
    setup: str = ""
    """What the host's shell does when they are unpacked, for what their maintainer scripts would do."""
    python: bool = False
    """True if it needs the Python packages of requirements.txt."""
    bad: tuple[Behaviour, ...] = BAD
    overrides: Mapping[Behaviour, Mapping[str, str]] = field(default_factory=dict)
    """Files that a bad release has instead, if its app does not read `behaviour`."""
    modes: tuple[str, ...] = ("steered", "shared")
    note: str = ""
    """What the table says about the row."""

    def release(self, behaviour: Behaviour) -> dict[str, str]:
        """Return the files of a release with their texts."""
        own = {name: text if isinstance(text, str) else text.read_text() for name, text in self.files.items()}
        return {**own, "behaviour": f"{behaviour}\n", **self.overrides.get(behaviour, {})}
