"""The app files of this machine, as they were listed last. They are read in threads (`Workers`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from deployd import config
from deployd.config import overlap, port_mode, steering, user_mode
from deployd.config.source import printable
from deployd.errors import DeploydError, InvalidFile, NoSuchApp
from deployd.files.sweep import Shared, Sweep
from deployd.files.workers import Workers
from deployd.model import advice
from deployd.model.app import App
from deployd.units.occupants import away

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a request waits for the list of files; after that it uses the last one."""
SUFFIX = ".toml"

T = TypeVar("T")
Load = Callable[[str], Coroutine[Any, Any, App]]
"""Returns what the file of an app says now. Raises InvalidFile, NoSuchApp and Refused."""
Check = Callable[[App], None]
"""Raises a DeploydError if the release of an app cannot be used."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with an app file or its release (None if nothing is), and what may be; printable text."""

    app: str
    file: str
    problem: str | None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Usable:
    """The release of a valid app file, and what may be wrong with it."""

    release: str
    doubts: tuple[str, ...]


class AppFiles:
    """The files NAME.toml in `directory`, listed and checked by `workers`."""

    def __init__(self, directory: Path, workers: Workers) -> None:
        self.directory = directory
        self._workers = workers
        self._names: frozenset[str] = frozenset()
        self._odd: tuple[str, ...] = ()
        self._slow = False
        self._lists = Shared(self._list)
        self._sweep = Sweep()
        self._usable = Shared(partial(self.each, _usable))
        self._apps = Shared(partial(self.each, config.load))

    @property
    def names(self) -> frozenset[str]:
        """Names of the apps that have a file."""
        return self._names

    def path(self, name: str) -> Path:
        """Return the path of an app's file."""
        return self.directory / f"{name}{SUFFIX}"

    def unknown(self, name: str) -> NoSuchApp:
        """Return the error for the name of an app that does not exist."""
        if not config.is_name(name):
            return NoSuchApp('there is no such app: names have up to 63 letters, digits, ".", "-" and "_"')
        return NoSuchApp(f"there is no app {name}: no {self.path(name)} and no history of it")

    async def refresh(self) -> None:
        """List the files again, unless the file system is slow: the last list remains in use then."""
        if self._slow:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._lists.get()
        except TimeoutError:
            self._slow = True

    async def load(self, name: str, workers: Workers) -> App:
        """Return what the file of an app says now. Raises InvalidFile, NoSuchApp and Refused."""
        return await workers.run(name, _load, self.path(name))

    async def each(self, read: Callable[[Path], T]) -> dict[str, T | DeploydError]:
        """Call `read` with the path of each file, even of files whose name no app can have; return results or errors by
        name."""
        await self.refresh()
        return await self._sweep.over([*self._names, *self._odd], lambda name: read(self.path(name)))

    async def releases(self) -> dict[str, str | DeploydError]:
        """Return the release that each app file names, or what is wrong with either, by name. Concurrent calls share an
        answer."""
        found = await self._usable.get()
        return {name: item.release if isinstance(item, _Usable) else item for name, item in found.items()}

    async def checked(self, name: str = "", check: Check | None = None) -> list[Checked]:
        """Check the file and the release of one app, or of all files for "", even those whose name no app can have.

        `check` replaces the check of the release, and then there are no doubts.
        """
        read: Callable[[Path], object] = _usable if check is None else partial(_checked, check)
        found: Mapping[str, object]
        if name:
            found = {name: await self._one(name, read)}
        elif check is None:
            found = await self._usable.get()
        else:
            found = await self.each(read)
        return [
            Checked(
                printable(app),
                printable(str(self.path(app))),
                str(what) if isinstance(what, DeploydError) else None,
                what.doubts if isinstance(what, _Usable) else (),
            )
            for app, what in sorted(found.items())
        ]

    async def overlaps(self, patience: float) -> dict[str, tuple[str, str]]:
        """Return each app whose addresses overlap with those of another app file: that app, and a sentence.

        Nothing if reading all files takes more than `patience` seconds: one that does not respond must not delay the
        check of others.
        """
        try:
            async with asyncio.timeout(patience):
                apps = [item for item in (await self._apps.get()).values() if isinstance(item, App)]
        except TimeoutError:
            return {}
        every = [member for item in apps for member in item.members]
        found = await self._workers.run("", partial(overlap.overlaps, every, only6=overlap.ipv6_only()))
        for item in every:
            if item.name in found:
                found.setdefault(item.application, found[item.name])
        return found

    async def _one(self, name: str, read: Callable[[Path], object]) -> object:
        try:
            return await self._workers.run(name, read, self.path(name))
        except DeploydError as error:
            return error

    async def _list(self) -> None:
        try:
            found = await self._workers.run("", _stems, self.directory)
        except (DeploydError, OSError) as error:
            log.warning("the app files in %s cannot be listed: %s", self.directory, error)
        else:
            self._names = frozenset(filter(config.is_name, found))
            self._odd = tuple(found - self._names)
        finally:
            self._slow = False


def _stems(directory: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        return {entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX)}
    return set()


def _load(path: Path) -> App:
    if not os.path.lexists(path):
        raise InvalidFile(
            f"{path} is missing, but {path.stem} has a history; put the file back, or use"
            f" {advice.deployd()} remove {path.stem}"
        )
    return config.load(path)


def _usable(path: Path) -> _Usable:
    app = config.load(path)
    release = config.resolve_release(app)
    config.capture_credentials(app, lambda _: "")
    found = (doubt for item in config.capture(app).members for doubt in _doubts(item, path, release))
    return _Usable(release, tuple(dict.fromkeys(found)))


def _doubts(app: App, path: Path, release: str) -> Iterator[str]:
    """Yield what may be wrong with an app or a process type of it."""
    doubts = config.require_runnable(app, release)
    own = (*config.without_effect(app.service), *config.doubtful_lines(app), *config.doubts(app))
    others = (*steering.doubts(app), *port_mode.doubts(app), *user_mode.doubts(app), *away(app, path), *doubts)
    for doubt in (*own, *others):
        yield f"{app.process}: {doubt}" if app.process else doubt


def _checked(check: Check, path: Path) -> None:
    check(config.load(path))
