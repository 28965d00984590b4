"""The unit files and the files of the generation that an app file would make, next to those that are installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from deployd import config
from deployd.apps import release_access
from deployd.apps.caller import Caller
from deployd.apps.file_reader import FileReader
from deployd.apps.generation_preview import preview
from deployd.apps.reader_pool import ReaderPool
from deployd.apps.registry import Registry
from deployd.documents import Json
from deployd.errors import AccessDenied, NoAnswer, Refused, StateError
from deployd.model.app import App
from deployd.plan.goal import Goal
from deployd.rollout.generations import Generations
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.units.deployment import Deployment
from deployd.units.text import Unit

PATIENCE = 1.0
"""Seconds that the units wait for each of the file systems on which the files of a generation depend."""


class UnitPreview:
    """For all apps."""

    def __init__(
        self,
        registry: Registry,
        reader: FileReader,
        pool: ReaderPool,
        generations: Generations,
        history: History,
        pins: Pins,
        deployment: Deployment,
    ) -> None:
        self._registry = registry
        self._reader = reader
        self._pool = pool
        self._generations = generations
        self._history = history
        self._pins = pins
        self._deployment = deployment

    async def units(self, caller: Caller, name: str) -> Json:
        """Return `deployd units APP --json`.

        Raises AccessDenied, InvalidFile, Refused and BusError (LimitsExceeded).
        """
        await self._reader.require_readable(caller, name)
        return await self._pool.run(caller, lambda: self._units(caller, name))

    async def _units(self, caller: Caller, name: str) -> Json:
        app, current = await self._reader.load(caller, name), self._generations.current(name)
        # A gate timeout that was learned meanwhile changes units with the next generation only.
        app = self._generations.learned(app) if current is None else app.with_learned(current.settings.gate.timeout)
        app = await self._pool.workers(caller).run(name, config.located, app)
        app, _ = self._generations.choose(app, app.release)  # no unit names the directory of a release
        units, files, error = self._of(app, app), *await self._files(caller, app)
        for item in app.processes:
            live = self._generations.current(item.name)
            known = self._generations.learned(item) if live is None else item.with_learned(live.settings.gate.timeout)
            known = await self._pool.workers(caller).run(name, config.located, known)
            units += self._of(known, app)
            more, its_error = await self._files(caller, known)
            files, error = [*files, *more], error or its_error
        wanted = {item.name for item in app.members}
        for controller in self._registry.members(name):  # process types that the app file has no longer
            if controller.name not in wanted:
                units += self._shown((), self._deployment.installed(controller.name))
        return {"app": name, "units": units, "files": files, "files_error": error}

    def _of(self, app: App, whole: App) -> list[Json]:
        """Return the units of an app or of a process type, which is one of the app `whole`."""
        name = app.name
        installed = self._deployment.installed(name) | self._deployment.timers.installed(name)
        # Units of single instances come and go during a rollout; these are the units of the app.
        pinned = frozenset(self._pins.read(name).values())
        units = self._deployment.settled(app, Goal.of(app, 0, same=pinned))
        return self._shown((*units, *self._deployment.timers.wanted(app, self._number(whole.name))), installed)

    def _shown(self, units: tuple[Unit, ...], installed: Mapping[str, str]) -> list[Json]:
        """Return these units and those that are only installed."""
        obsolete = [Unit(unit, "") for unit in installed if unit not in {item.name for item in units}]
        return [
            {
                "name": unit.name,
                "path": self._deployment.path(unit.name),
                "text": _as_text(unit.text),
                "installed": _as_text(installed.get(unit.name)),
            }
            for unit in (*units, *obsolete)
        ]

    async def _files(self, caller: Caller, app: App) -> tuple[list[Json], str | None]:
        """Return the files of the generation, or why they cannot be made: the units do not depend on that."""
        run = partial(self._pool.workers(caller).run, app.name, deadline=PATIENCE)
        digest, number = self._pins.credentials.digest, self._number(app.application)
        show = partial(
            preview, directory=self._pins.generation_dir(app.name, number), digest=digest, names=caller.trusted
        )
        try:
            directory = await run(release_access.directory, caller, app)
            if not directory and not caller.trusted:
                raise AccessDenied(f"user {caller.uid} cannot list the release {app.release}; try again as root")
            app = await run(release_access.captured, caller, replace(app, processes=()), digest)
            _, stays = self._generations.choose(replace(app, name=app.application), directory)
            return await run(show, app, number, stays or directory or app.release), None
        except (AccessDenied, NoAnswer, Refused, StateError) as error:
            return [], str(error)

    def _number(self, name: str) -> int:
        """Return the number of the live generation, so that it makes no difference, or of the first one."""
        live = self._history.current(name)
        return self._history.next_number(name) if live is None else live


def _as_text(file: str | None) -> str | None:
    """Return the contents of a unit file with escapes for what is not UTF-8: administrators may have edited it."""
    return None if file is None else os.fsencode(file).decode(errors="backslashreplace")
