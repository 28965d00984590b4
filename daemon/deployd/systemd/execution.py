"""The settings of an instance's unit as systemd loads it, with all drop-ins of the administrator.

Commands of an app run with the same settings, which are read from the properties of a unit
(org.freedesktop.systemd1(5)): that of an instance, or, for a generation that is not installed yet, a unit that is
written to the runtime directory until systemd has loaded it. The drop-ins of NAME@.service apply to its name. It is
never started.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployd.bus import Bus, BusError
from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.scope import SYSTEM
from deployd.systemd import settings
from deployd.systemd.proxy import NAME, PROPERTIES, SERVICE, UNIT, unit_path
from deployd.systemd.settings import ServiceSettings

UNSET = unit_name.labelled("deployd", "unset")
"""A unit that does not exist, for which systemd reports the defaults."""

_LABEL = re.compile(r"deployd[0-9a-f]+x[0-9a-f]+")

BARE = "[Service]\nExecStart=/bin/true\n"
"""A unit with nothing but the drop-ins of all services (service.d), which apply to transient units as well."""


class Execution:
    """Reads the settings. Errors are SystemdError."""

    def __init__(self, bus: Bus, directory: str | Path = SYSTEM.runtime_units, timeout: float = 30.0) -> None:
        self._bus = bus
        self._directory = Path(directory)
        self._timeout = timeout
        self._labels = (f"deployd{os.getpid():x}x{count:x}" for count in itertools.count(1))

    def sweep(self) -> None:
        """Remove the units that a killed daemon has left."""
        # Without a directory there are none. If it is not writable, the next unit that is written reports that.
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                if _LABEL.fullmatch(unit_name.label(path.name)):
                    path.unlink(missing_ok=True)

    async def of_instance(self, app: str, number: int) -> ServiceSettings:
        """Return the settings with which instance `number` is loaded."""
        return await self._copied(app, unit_name.instance(app, number), started=True)

    async def of_unit(self, app: str, text: str) -> ServiceSettings:
        """Return the settings of an instance whose unit has this `text`."""
        name = unit_name.instance(app, next(self._labels))
        with self._written(name, text):
            return await self._copied(app, name, started=False)

    async def _copied(self, app: str, unit: str, *, started: bool) -> ServiceSettings:
        loaded = await self._loaded(unit)
        unset = await self._properties(UNSET, SERVICE)
        bare = unit_name.labelled(app, next(self._labels))
        with self._written(bare, BARE):
            everywhere = await self._loaded(bare)
        if not started and (names := settings.unknown(loaded, unset)):
            raise SystemdError(
                f"the unit of the instances of {app} sets {', '.join(names)}, which this version of deployd cannot pass"
                " on to commands of the app; remove it from the drop-in"
            )
        return settings.copied(loaded, unset, everywhere)

    async def _loaded(self, unit: str) -> ServiceSettings:
        state = await self._properties(unit, UNIT)
        if state["LoadState"][1] != "loaded":
            why = state["LoadError"][1][1] or f"it is {state['LoadState'][1]}"
            drop_ins = " ".join(state["DropInPaths"][1])
            raise SystemdError(f"systemd cannot load {unit}{f' with {drop_ins}' if drop_ins else ''}: {why}")
        return await self._properties(unit, SERVICE)

    async def _properties(self, unit: str, interface: str) -> dict[str, tuple[str, Any]]:
        try:
            (found,) = await self._bus.call(
                NAME, unit_path(unit), PROPERTIES, "GetAll", "s", [interface], timeout=self._timeout, signatures=True
            )
        except BusError as error:
            raise SystemdError(f"systemd did not report the settings of {unit}: {error.message}") from error
        return dict(found)

    @contextlib.contextmanager
    def _written(self, unit: str, text: str) -> Iterator[None]:
        """Write `unit` for the duration of the context. A name new to systemd needs no daemon-reload."""
        path = self._directory / unit
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise SystemdError(f"cannot write {path}: {error.strerror}") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
