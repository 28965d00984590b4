"""The end of an app on this machine: everything of it is stopped, then what was generated for it is removed.

Each step may be repeated: whoever was interrupted, by an error or by death, does it all again. Waiting for processes to
end is the app's own matter, and keeps nobody else from anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.state.pins import Pins
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd, UnitRefused
from deployd.units.directory import UnitDirectory

log = logging.getLogger(__name__)

TRIES = 5
"""So often what has been stopped may be found running again."""

DOWN = frozenset({"inactive", "failed"})


class Removal:
    """Unit files in `units`, generation files through `pins`, what runs through `systemd`."""

    def __init__(self, systemd: Systemd, units: UnitDirectory, reload: DaemonReload, pins: Pins) -> None:
        self._systemd = systemd
        self._units = units
        self._reload = reload
        self._pins = pins

    def check(self, name: str) -> None:
        """Raise StateError if units or pins could not be removed; before anything has been stopped."""
        self._pins.require_writable(name)
        if self._units.installed(name):
            self._units.require_writable()

    async def run(self, name: str, patience: float) -> None:
        """Stop the app, which may take `patience` seconds, and remove its units, pins and generation files. Raises
        SystemdError and StateError, and may then be called again."""
        async with _deadline(name, patience):
            await self._stop_all(name)
        await self._reload.after(lambda: self._remove_units(name))
        self._pins.remove(name)

    async def _stop_all(self, name: str) -> None:
        for number in self._pins.standby(name):
            with contextlib.suppress(SystemdError):  # it has ended by itself
                await self._systemd.thaw(unit_name.instance(name, number))
        for _ in range(TRIES):
            up = [unit for unit, state in (await self._loaded(name)).items() if state not in DOWN]
            if not up:
                break
            # Sockets first, and to their end: ordered before the instances, they would stay open as long as these.
            await self._stop(unit for unit in up if unit_name.is_socket(unit))
            await self._stop(unit for unit in up if not unit_name.is_socket(unit))
        else:
            raise SystemdError(f"{', '.join(up)}: started again each time it was stopped")
        for unit in await self._loaded(name):
            await self._systemd.reset_failed(unit)

    async def _loaded(self, name: str) -> dict[str, str]:
        """The app's units that systemd knows, with their ActiveState."""
        states = await self._systemd.states(unit_name.patterns(name))
        return {unit: state.active for unit, state in states.items()}

    async def _stop(self, units: Iterable[str]) -> None:
        jobs = []
        for unit in units:
            with contextlib.suppress(UnitRefused):  # not loaded any more
                jobs.append(await self._systemd.stop(unit))
        if jobs:
            await asyncio.wait(jobs)

    async def _remove_units(self, name: str) -> bool:
        """True if systemd has to reload, also for files that were removed by a daemon that died before its reload."""
        installed = self._units.installed(name)
        if installed:
            sockets = [unit for unit in installed if unit_name.shared_socket_count(name, unit) is not None]
            await self._systemd.disable([*sockets, unit_name.app_unit(name)])
        return self._units.remove(name) or bool(await self._loaded(name))


@contextlib.asynccontextmanager
async def _deadline(name: str, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise SystemdError(f"{name} did not stop within {seconds:g} s") from None
