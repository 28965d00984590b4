"""A real server and its app: the app file, the files of a release, and where the server comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.host.root import HostRoot
from tests.host.stage import PORT

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
class Companion:
    """What runs beside the app, outside of deployd: a web server in front of it, or what it passes requests on to."""

    name: str
    argv: tuple[str, ...]
    files: Mapping[str, Path | str]
    """Its directory, like the files of a release."""
    port: int
    """At which it listens."""


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
    npm: bool = False
    """True if it needs the packages of package.json, and their current Node.js as /usr/bin/node."""
    build: str = ""
    """What the host's shell does in each release when its files are written."""
    large: bool = False
    """True if its packages are fetched only when it runs, and not by packaging/bootstrap."""
    companions: tuple[Companion, ...] = ()
    listen: str = f"127.0.0.1:{PORT}"
    """The address of the app; clients connect to PORT."""
    trixie: bool = False
    """True if it runs on a host of Debian 13."""
    websockets: bool = False
    """True if /events of its app sends back what it gets on a WebSocket."""
    bad: tuple[Behaviour, ...] = BAD
    overrides: Mapping[Behaviour, Mapping[str, str]] = field(default_factory=dict)
    """Files that a bad release has instead, if its app does not read `behaviour`."""
    modes: tuple[str, ...] = ("steered", "shared")
    note: str = ""
    """What the table says about the row."""

    def root(self) -> HostRoot:
        """Return the root of its host. Raises RootError, SourcesError."""
        return HostRoot.trixie() if self.trixie else HostRoot.from_environment()

    def release(self, behaviour: Behaviour) -> dict[str, str]:
        """Return the files of a release with their texts."""
        return {**texts(self.files), "behaviour": f"{behaviour}\n", **self.overrides.get(behaviour, {})}


def texts(files: Mapping[str, Path | str]) -> dict[str, str]:
    return {name: text if isinstance(text, str) else text.read_text() for name, text in files.items()}
