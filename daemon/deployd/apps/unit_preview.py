"""The unit files that deployd would install for an app, next to those that are installed."""

from __future__ import annotations

import os

from deployd import config
from deployd.apps.caller import Caller
from deployd.apps.file_reader import FileReader
from deployd.apps.reader_pool import ReaderPool
from deployd.documents import Json
from deployd.plan.goal import Goal
from deployd.rollout.generations import Generations
from deployd.state.pins import Pins
from deployd.units.deployment import Deployment
from deployd.units.text import Unit


class UnitPreview:
    """For all apps."""

    def __init__(
        self, reader: FileReader, pool: ReaderPool, generations: Generations, pins: Pins, deployment: Deployment
    ) -> None:
        self._reader = reader
        self._pool = pool
        self._generations = generations
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
        installed = self._deployment.installed(name)
        # Units of single instances come and go during a rollout; these are the units of the app.
        pinned = frozenset(self._pins.read(name).values())
        units = self._deployment.settled(app, Goal.of(app, 0, same=pinned))
        obsolete = [Unit(unit, "") for unit in installed if unit not in {item.name for item in units}]
        return {
            "app": name,
            "units": [
                {
                    "name": unit.name,
                    "path": self._deployment.path(unit.name),
                    "text": _as_text(unit.text),
                    "installed": _as_text(installed.get(unit.name)),
                }
                for unit in (*units, *obsolete)
            ],
        }


def _as_text(file: str | None) -> str | None:
    """Return the contents of a unit file with escapes for what is not UTF-8: administrators may have edited it."""
    return None if file is None else os.fsencode(file).decode(errors="backslashreplace")
