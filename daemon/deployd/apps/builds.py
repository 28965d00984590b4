"""The builds of `deployd deploy`: commands of the app file that complete a release before it gets its place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from deployd import config
from deployd.apps.app_files import Load
from deployd.apps.caller import Caller
from deployd.apps.caller_files import CallerFiles
from deployd.apps.caller_presence import until_gone
from deployd.apps.one_off_commands import ROOTS
from deployd.apps.release_access import checked
from deployd.bus import Bus
from deployd.documents import Json
from deployd.errors import AccessDenied, Busy, DeploydError, Refused, SystemdError
from deployd.files.walk import LinkOwners, walk
from deployd.files.workers import LONG, Workers
from deployd.instances.commands import BUILDS, Commands
from deployd.model import advice, unit_name
from deployd.model.app import App
from deployd.model.scope import Scope
from deployd.systemd.transient import Command, Outcome, Transient
from deployd.units.text.build import build_files, build_script

log = logging.getLogger(__name__)


class Builds:
    """Of all apps, one at a time for each. A build is stopped when its caller leaves the bus."""

    def __init__(
        self, bus: Bus, load: Load, workers: Workers, transient: Transient, commands: Commands, scope: Scope
    ) -> None:
        self._bus = bus
        self._caller_files = CallerFiles(bus)
        self._load = load
        self._workers = workers
        self._transient = transient
        self._commands = commands
        self._directory = scope.runtime / "build"
        self._cache = scope.cache / BUILDS
        self._building: set[str] = set()

    async def build(
        self,
        name: str,
        release: str,
        caller: Caller,
        *,
        agreed: str | None = None,
        stdin: int = 0,
        stdout: int = 1,
        stderr: int = 2,
    ) -> Json:
        """Run the commands that the app file has for a release to their end; return the result.

        `stdin` and `stdout` are descriptors of the caller for the release as an archive, before and after. `release` is
        the empty directory that it will have: for the commands it is there. `agreed` is the one that polkit has agreed
        to. Raises InvalidRequest, Refused, AccessDenied, Busy and SystemdError.
        """
        app = await self._load(name)
        if not app.delivery.build:
            raise Refused(f"the file of {name} has no build in [deploy]")
        if not caller.trusted and app.user in ROOTS:
            raise AccessDenied(f"{name} runs as root, so only root may build releases of it")
        path = checked(release if agreed is None else agreed)
        real = await self._workers.run(name, _directory, path)
        if agreed is not None and real != agreed:
            raise AccessDenied(f"the release {agreed} changed to another directory during authorisation; try again")
        app = await self._workers.run(name, config.capture, app)
        numbers = stdin, stdout, stderr
        async with self._caller_files.opened(caller, numbers) as copies, until_gone(self._bus, caller):
            outcome = await self._run(app, real, caller, (copies[0], copies[1], copies[2]))
        log.info("%s: the build of %s %s", name, config.one_line(real), outcome)
        return {
            "app": name,
            "release": real,
            "succeeded": outcome.succeeded,
            "reason": str(outcome),
            "exit_status": outcome.exit_status,
            "signal": outcome.signal,
            "duration": round(outcome.seconds, 3),
        }

    async def _run(self, app: App, release: str, caller: Caller, standard: tuple[int, int, int]) -> Outcome:
        unit = unit_name.build(app.name)
        if app.name in self._building:
            raise _busy(app.name, unit)
        self._building.add(app.name)
        try:
            if await self._transient.running(unit):  # begun by a daemon that was killed
                raise _busy(app.name, unit)
            log.info("%s: user %d builds %s as %s", app.name, caller.uid, config.one_line(release), unit)
            async with self._removed(app.name):
                with self._written(app, release) as directory:
                    argv = ("/bin/sh", "-c", build_script(app.delivery.build))
                    command = await self._commands.of_build(app, directory, argv, release=release)
                    return await self._until_stopped(unit, replace(command, standard=standard))
        finally:
            self._building.discard(app.name)

    async def _until_stopped(self, unit: str, command: Command) -> Outcome:
        """Run the unit. If cancelled, wait until it is stopped: what it uses is removed then."""
        try:
            return await self._transient.run(unit, command)
        except asyncio.CancelledError:
            with contextlib.suppress(SystemdError):
                await self._transient.settle(unit)
            raise

    @contextlib.asynccontextmanager
    async def _removed(self, app: str) -> AsyncIterator[None]:
        """Remove the directory in which the context builds. What is left of it the next build removes first."""
        try:
            yield
        finally:
            directory = self._cache / app
            with contextlib.suppress(DeploydError):
                await self._workers.run(app, partial(shutil.rmtree, ignore_errors=True), directory, deadline=LONG)

    @contextlib.contextmanager
    def _written(self, app: App, release: str) -> Iterator[Path]:
        """Have the environment files of a build within the context. Raises SystemdError."""
        directory = self._directory / app.name
        try:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, mode=0o700)
            for name, text in build_files(app, release).items():
                (directory / name).write_bytes(text.encode(errors="surrogateescape"))
        except OSError as error:
            raise SystemdError(f"cannot write {directory}: {error.strerror}") from error
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _directory(path: str) -> str:
    """Return the real path of a directory. Raises Refused."""
    try:
        with walk(path, LinkOwners()) as found:
            if found.is_directory:
                return found.path
            reason = "it is no directory"
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or ""
    raise Refused(
        config.one_line(f"the release {path} cannot be built: {reason}; make an empty directory of that name")
    )


def _busy(app: str, unit: str) -> Busy:
    return Busy(f"a release of {app} is being built; wait for it, or stop it with: {advice.systemctl()} stop {unit}")
