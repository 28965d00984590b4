"""Stops everything of an app, then removes what was generated for it.

For `remove`, and for a first deployment that failed. Each step may be repeated: a removal that was interrupted, by an
error or by the daemon's death, is done again from the start. The event loop does not wait for processes to end, so
other apps are not delayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.routing import unix_sockets
from deployd.routing.kernel import Kernel
from deployd.state.pins import Pins
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UnitRefused
from deployd.units.directory import UnitDirectory

log = logging.getLogger(__name__)

TRIES = 5
"""Attempts to stop units that are started again."""

JOB_MARGIN = 30.0
"""Seconds beyond the instances' own time-outs that an app has to stop."""

DOWN = frozenset({"inactive", "failed"})


class Teardown:
    """Removes unit files from `units`, generation files through `pins`, and stops units through `systemd`."""

    def __init__(
        self, systemd: Systemd, units: UnitDirectory, reload: DaemonReload, pins: Pins, kernel: Kernel
    ) -> None:
        self._systemd = systemd
        self._units = units
        self._reload = reload
        self._pins = pins
        self._kernel = kernel

    def installed(self, name: str) -> bool:
        """True if the app has unit files."""
        return bool(self._units.installed(name))

    def check(self, name: str) -> None:
        """Raise StateError if units or pins cannot be removed. For use before anything has been stopped."""
        self._pins.require_writable(name)
        if self._units.installed(name):
            self._units.require_writable()

    async def run(self, name: str, timeout: float) -> None:
        """Stop the app within `timeout` seconds, then remove its units, pins and generation files. Raises SystemdError
        and StateError; call it again then."""
        await self.take_down(name, timeout)
        self._pins.remove(name)

    async def take_down(self, name: str, timeout: float) -> None:
        """Stop the app within `timeout` seconds and remove its units; what is known of its generations stays.

        Raises SystemdError and StateError; call it again then.
        """
        async with _deadline(name, timeout):
            await self._stop_all(name)
        await self._reload.after(lambda: self._remove_units(name))
        unix_sockets.forget(name)
        self._kernel.forget(name)

    async def _stop_all(self, name: str) -> None:
        for number in self._pins.standby(name):
            with contextlib.suppress(SystemdError):  # it has ended
                await self._systemd.thaw(unit_name.instance(name, number))
        for _ in range(TRIES):
            up = [unit for unit, state in (await self._loaded(name)).items() if state not in DOWN]
            if not up:
                break
            # Sockets first, and until they are closed: units order them before the instances, so in one transaction
            # they would stay open as long as the instances run.
            await self._stop(unit for unit in up if unit_name.is_socket(unit))
            await self._stop(unit for unit in up if not unit_name.is_socket(unit))
        else:
            raise SystemdError(f"{', '.join(up)}: started again each time deployd stopped it")
        for unit in await self._loaded(name):
            await self._systemd.reset_failed(unit)
            if unit_name.is_timer(unit):
                await self._systemd.clean(unit)

    async def _loaded(self, name: str) -> dict[str, str]:
        """Return the ActiveState of the app's units that are loaded."""
        states = await self._systemd.states(unit_name.patterns(name))
        return {unit: state.active for unit, state in states.items()}

    async def _stop(self, units: Iterable[str]) -> None:
        jobs = []
        for unit in units:
            with contextlib.suppress(UnitRefused):  # not loaded any longer
                jobs.append(await self._systemd.stop(unit))
        if jobs:
            await asyncio.wait(jobs)

    async def _remove_units(self, name: str) -> bool:
        """Remove the unit files; True if systemd has to reload, also if the daemon died before an earlier reload."""
        installed = self._units.installed(name)
        if installed:
            timers = [unit for unit in self._units.timers(name) if unit_name.is_timer(unit)]
            sockets = [unit for unit in installed if unit_name.shared_socket_count(name, unit) is not None]
            await self._systemd.disable([*timers, *sockets, unit_name.app_unit(name)])
        return self._units.remove(name) or bool(await self._loaded(name))


@contextlib.asynccontextmanager
async def _deadline(name: str, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise SystemdError(f"{name} did not stop within {seconds:g} s") from None
