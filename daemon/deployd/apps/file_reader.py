"""What callers may learn from app files: whether they are valid, and their settings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from deployd.apps import release_access
from deployd.apps.app_files import AppFiles, Checked
from deployd.apps.caller import Caller
from deployd.apps.reader_pool import ReaderPool
from deployd.documents import Json
from deployd.errors import AccessDenied, DeploydError, InvalidFile, NoAnswer
from deployd.model import advice
from deployd.model.app import App
from deployd.units.deployment import Deployment

AT_A_TIME = 4
"""Apps whose units are verified at the same time."""
MOST_VERIFIED = 40
"""Apps whose units are verified for one answer. With more of them that is left to the check of a single app, because
the answer would take too long."""
PATIENCE = 1.0
"""Seconds that the check of an app waits for the files of the others."""
PATIENCE_OF_USERS = 0.3
"""The same for callers with a quota, whose next query has to wait for a multiple of it."""


class FileReader:
    """Reads app files on behalf of callers."""

    def __init__(self, files: AppFiles, pool: ReaderPool, deployment: Deployment) -> None:
        self._files = files
        self._pool = pool
        self._deployment = deployment

    async def check(self, caller: Caller, name: str) -> Json:
        """Validate the file of one app, or all app files for "". Raises NoSuchApp and BusError (LimitsExceeded)."""
        if name and name not in self._files.names:
            await self._files.refresh()
            if name not in self._files.names:
                raise self._files.unknown(name)
        found = await self._pool.run(caller, lambda: self._checked(caller, name))
        return {
            "apps": [
                {
                    "app": item.app,
                    "file": item.file,
                    "valid": item.problem is None,
                    "error": item.problem,
                    "warnings": list(item.doubts),
                }
                for item in found
            ]
        }

    async def _checked(self, caller: Caller, name: str) -> list[Checked]:
        overlaps = await self._overlaps(caller)
        # Only root gets doubts: they may quote environment files.
        found = await self._files.checked(name, None if caller.trusted else partial(_check_release, caller))
        found = [replace(item, problem=item.problem or overlaps.get(item.app)) for item in found]
        valid = [item.app for item in found if item.problem is None]
        units = dict(await self._unit_problems(caller, valid)) if len(valid) <= MOST_VERIFIED else {}
        found = [replace(item, problem=item.problem or units.get(item.app)) for item in found]
        wrong = [item.app for item in found if item.problem is not None]
        secret = [app for app in wrong if not await self.may_read(caller, app)]
        return [replace(item, problem=str(self.invalid(item.app))) if item.app in secret else item for item in found]

    async def _unit_problems(self, caller: Caller, names: list[str]) -> Iterable[tuple[str, str | None]]:
        """Return each of these apps with what systemd would refuse about its units."""
        places = asyncio.Semaphore(AT_A_TIME)

        async def problem(name: str) -> tuple[str, str | None]:
            async with places:
                return name, await self._unit_problem(caller, name)

        return await asyncio.gather(*map(problem, names))

    async def _unit_problem(self, caller: Caller, name: str) -> str | None:
        """Return what systemd would refuse about the units of an app whose file is valid."""
        try:
            await self._deployment.check(await self.load(caller, name))
        except DeploydError as error:
            return str(error)
        return None

    async def _overlaps(self, caller: Caller) -> dict[str, str]:
        """Return what is wrong with apps whose addresses overlap with those of another app that the caller may see."""
        found = await self._files.overlaps(PATIENCE if caller.trusted else PATIENCE_OF_USERS)
        return {
            app: f"{self._files.path(app)}: {sentence}"
            for app, (other, sentence) in found.items()
            if await self.may_read(caller, other)
        }

    def invalid(self, app: str) -> InvalidFile:
        """Return the error for a caller that may not read the invalid app file."""
        file = self._files.path(app)
        return InvalidFile(
            f"{file} is not valid; {advice.deployd()} check {app} shows why to users that may read the file"
        )

    async def may_read(self, caller: Caller, app: str) -> bool:
        """True if the caller may read the app file, and so may see its contents in an answer."""
        try:
            return await self._can_read(caller, app)
        except NoAnswer:
            return False

    async def require_readable(self, caller: Caller, app: str) -> None:
        """Raise AccessDenied unless the caller may read the app file, if there is one. Raises NoAnswer."""
        if app in self._files.names and not await self._can_read(caller, app):
            raise AccessDenied(f"user {caller.uid} may not read {self._files.path(app)}; try again as root")

    async def load(self, caller: Caller, name: str) -> App:
        """Return what the app file says now. Raises InvalidFile, NoSuchApp and Refused."""
        return await self._files.load(name, self._pool.workers(caller))

    async def _can_read(self, caller: Caller, app: str) -> bool:
        path = str(self._files.path(app))
        return caller.trusted or await self._pool.public.run(app, caller.files.may_read, path)


def _check_release(caller: Caller, app: App) -> None:
    """Raise an error if the release is not usable, as far as the caller may see that."""
    with contextlib.suppress(AccessDenied):
        release_access.seen_release(caller, app)
