"""The unit files of timers: those of the live generation are installed, and those of no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable

from deployd.model import unit_name
from deployd.model.app import App
from deployd.state.runs import Runs
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT, UnitRefused
from deployd.units.directory import UnitDirectory
from deployd.units.text import Unit

Render = Callable[[App, int], tuple[Unit, ...]]
"""Returns the units of the timers of an app, whose commands run in a generation."""


class TimerUnits:
    """Of all apps. Methods raise StateError, SystemdError and Refused."""

    def __init__(
        self, systemd: Systemd, units: UnitDirectory, reload: DaemonReload, runs: Runs, render: Render
    ) -> None:
        self._systemd = systemd
        self._units = units
        self._reload = reload
        self._render = render
        self.runs = runs

    def wanted(self, app: App, number: int) -> tuple[Unit, ...]:
        """Return the units with which the commands of the timers run in generation `number`."""
        return self._render(app, number)

    def installed(self, name: str) -> dict[str, str]:
        """Return the installed units of the timers of an app: name to text."""
        return self._units.timers(name)

    async def install(self, app: App, number: int, running: Collection[str]) -> None:
        """Install and enable the units of `app`, whose commands run in generation `number`, and remove those of timers
        that it does not have.

        May be repeated, also by another daemon. The service of a timer is what is written last, and removed last: one
        without it is enabled. What was installed and disabled by an administrator stays disabled. The service of a
        timer that is `running` is not removed: that follows when the run has ended.
        """
        wanted, installed = self.wanted(app, number), self.installed(app.name)
        timers = [unit for unit in wanted if unit_name.is_timer(unit.name)]
        services = [unit for unit in wanted if not unit_name.is_timer(unit.name)]
        gone = sorted(installed.keys() - {unit.name for unit in wanted})
        new = [unit.name for unit in timers if unit_name.service_of_timer(unit.name) not in installed]
        if wanted:
            self.runs.prepare(app.name)
        await self._stop(unit for unit in gone if unit_name.is_timer(unit))
        # A service without its timer says that a daemon may have died before it reloaded systemd.
        left = {unit_name.service_of_timer(unit) for unit in gone if unit_name.is_timer(unit)}
        outdated = not left.issuperset(unit for unit in gone if not unit_name.is_timer(unit))
        outdated |= await self._is_outdated(app.name, wanted)

        async def write() -> bool:
            stale = [unit for unit in gone if unit_name.is_timer(unit)]
            if stale:
                await self._systemd.disable(stale)
            changed = self._units.install(timers, stale)
            if new:
                changed |= await self._systemd.enable(new)
            return self._units.install(services) or changed or outdated

        if gone or new or outdated or self._units.diff(wanted):
            await self._reload.after(write)
        await self._remove(app, gone, running)

    async def _stop(self, timers: Iterable[str]) -> None:
        for unit in timers:
            with contextlib.suppress(UnitRefused):  # not loaded
                await (await self._systemd.stop(unit))

    async def _is_outdated(self, name: str, wanted: Iterable[Unit]) -> bool:
        """True if systemd has not loaded the units as they are installed, nor that the app unit wants those that are
        enabled: a daemon may have died before it reloaded systemd."""
        wants = (await self._systemd.read(unit_name.app_unit(name), UNIT, ["Wants"]))["Wants"] if wanted else []
        for unit in wanted:
            found = await self._systemd.read(unit.name, UNIT, ["NeedDaemonReload", "UnitFileState"])
            unknown = found["UnitFileState"] == "enabled" and unit.name not in wants
            if found["NeedDaemonReload"] or (unit_name.is_timer(unit.name) and unknown):
                return True
        return False

    async def _remove(self, app: App, gone: Iterable[str], running: Collection[str]) -> None:
        """Remove the services of timers that are gone, except for those that are `running`."""
        spared = {unit_name.timer_service(app.name, timer) for timer in running}
        stale = [unit for unit in gone if not unit_name.is_timer(unit) and unit not in spared]

        async def write() -> bool:
            return self._units.install((), stale)

        if stale:
            await self._reload.after(write)
        self.runs.forget(
            app.name, self.runs.read(app.name).keys() - {timer.name for timer in app.timers} - set(running)
        )
