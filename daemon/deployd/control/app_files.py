"""The app files of this machine, as they were listed last. All looks at them go through `Workers`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from deployd import config
from deployd.config.source import printable
from deployd.control.workers import Workers
from deployd.errors import DeploydError, InvalidFile
from deployd.model.app import App

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a request waits for the list of files; then the last one does."""
AT_ONCE = 4
"""Files that are looked at side by side when all are."""
SUFFIX = ".toml"


Check = Callable[[App], None]
"""Raises a DeploydError about the release that an app names."""


class AppFiles:
    """The files NAME.toml in `directory`."""

    def __init__(self, directory: Path, workers: Workers) -> None:
        self.directory = directory
        self._workers = workers
        self._names: frozenset[str] = frozenset()
        self._odd: tuple[str, ...] = ()
        self._asked = self._listed = 0
        self._listing: asyncio.Task[None] | None = None
        self._slow = False
        self._looks = asyncio.Semaphore(AT_ONCE)

    @property
    def names(self) -> frozenset[str]:
        """Names of apps that have a file."""
        return self._names

    def path(self, name: str) -> Path:
        return self.directory / f"{name}{SUFFIX}"

    async def refresh(self) -> None:
        """List the files anew, unless the file system is slow: then the last list does. Requests share a listing that
        has begun after they came."""
        self._asked += 1
        asked = self._asked
        if self._slow and self._listing is not None:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                while self._listed < asked:
                    if self._listing is None:
                        self._listing = asyncio.ensure_future(self._list())
                    await asyncio.shield(self._listing)
        except TimeoutError:
            self._slow = True

    async def load(self, name: str, workers: Workers) -> App:
        """Read and check the file of `name`. Raises InvalidFile, NoSuchApp, Refused."""
        return await workers.run(name, _load, self.path(name))

    async def problems(self, name: str = "", check: Check | None = None) -> list[tuple[str, str, str | None]]:
        """Name, file and what is wrong with the file or the release it names, None if nothing is: of one app, or of all
        and of what cannot be an app. Fit to be printed. `check` says what is wrong with a release; it may know less."""
        await self.refresh()
        names = [name] if name else sorted({*self._names, *self._odd})
        found = await asyncio.gather(*(self._problem(item, check or _check_release) for item in names))
        return [
            (printable(item), printable(str(self.path(item))), problem)
            for item, problem in zip(names, found, strict=True)
        ]

    async def _problem(self, name: str, check: Check) -> str | None:
        async with self._looks:
            try:
                await self._workers.run(name, lambda: check(config.load(self.path(name))))
            except DeploydError as error:
                return str(error)
        return None

    async def _list(self) -> None:
        asked = self._asked
        try:
            found = await self._workers.run("", _stems, self.directory)
        except (DeploydError, OSError) as error:
            log.warning("the app files in %s cannot be listed: %s", self.directory, error)
        else:
            self._names = frozenset(filter(config.is_name, found))
            self._odd = tuple(found - self._names)
            self._slow = False
        finally:
            self._listed, self._listing = asked, None


def _stems(directory: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        return {entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX)}
    return set()


def _load(path: Path) -> App:
    if not os.path.lexists(path):
        raise InvalidFile(
            f"{path} is missing, but {path.stem} has a history; put it back, or deployd remove {path.stem}"
        )
    return config.load(path)


def _check_release(app: App) -> None:
    config.resolve_release(app)
