"""The unit files of timers: those of the live generation are installed, and those of no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

from deployd.model import unit_name
from deployd.model.app import App
from deployd.state.runs import Runs
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UnitRefused
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
        that it does not have. May be repeated.

        The service of a timer that is `running` is not removed: that follows when the run has ended.
        """
        wanted, installed = self.wanted(app, number), self.installed(app.name)
        names = {unit.name for unit in wanted}
        gone = installed.keys() - names
        spared = {unit_name.timer_service(app.name, timer) for timer in running}
        stale = sorted(gone - spared)
        timers = [unit for unit in stale if not unit_name.is_service(unit)]
        if wanted:
            self.runs.prepare(app.name)
        for unit in timers:
            with contextlib.suppress(UnitRefused):  # not loaded
                await (await self._systemd.stop(unit))
        # What was installed and disabled by an administrator stays disabled.
        new = sorted(unit for unit in names - installed.keys() if not unit_name.is_service(unit))

        async def write() -> bool:
            if timers:
                await self._systemd.disable(timers)
            changed = self._units.install(wanted, stale)
            if new:
                changed |= await self._systemd.enable(new)
            return changed

        if stale or self._units.diff(wanted):
            await self._reload.after(write)
        self.runs.forget(app.name, self._forgotten(app, running))

    def _forgotten(self, app: App, running: Collection[str]) -> set[str]:
        return self.runs.read(app.name).keys() - {timer.name for timer in app.timers} - set(running)
