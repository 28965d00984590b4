"""The timers of one app: those of the live generation wait for their times while the app is up.

systemd starts their commands, and the daemon need not run for that. A run ends as it would: a rollout changes only what
the next one starts with.
"""

from __future__ import annotations

from collections.abc import Callable

from deployd.model import unit_name
from deployd.model.clock import Timestamp
from deployd.model.generation import Generation
from deployd.model.timer import TimerState
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT
from deployd.systemd.timers import RUNNING, timer
from deployd.units.timers import TimerUnits


class Timers:
    """Errors of systemd and of the disk are DeploydErrors. `up`: the app unit is up."""

    def __init__(self, app: str, systemd: Systemd, units: TimerUnits, *, up: Callable[[], bool]) -> None:
        self._app = app
        self._systemd = systemd
        self._units = units
        self._up = up
        self._live: Generation | None = None
        """The generation whose timers were installed last by this daemon."""
        self._names: tuple[str, ...] = ()
        """Timers that are installed, or whose removed ones still run."""
        self._left = False
        """True if a run of a timer that was removed was under way."""

    def owns(self, unit: str) -> bool:
        """True if `unit` is one of the timers, or what one of them starts."""
        return unit_name.timer_name(self._app, unit) in self._names

    async def follow(self, live: Generation | None) -> None:
        """Have the timers of the live generation wait for their times, and no others. May be repeated."""
        if live is None or (live is self._live and not (self._left and not self.running())):
            return
        if self._live is None or live.number != self._live.number or self._left:
            await self._install(live)
        await self._start(live)
        self._live = live

    async def _install(self, live: Generation) -> None:
        before = {unit_name.timer_name(self._app, unit) or "" for unit in self._units.installed(self._app)}
        if not before and not live.settings.timers:
            return
        await self._watch(sorted(before))
        running = self.running()
        await self._units.install(live.settings, live.number, running)
        names = {item.name for item in live.settings.timers}
        self._left = bool(running - names)
        await self._watch(sorted(names | running))

    async def _watch(self, names: list[str]) -> None:
        for name in set(self._names) - set(names):
            self._systemd.unwatch(unit_name.timer(self._app, name))
            self._systemd.unwatch(unit_name.timer_service(self._app, name))
        self._names = tuple(names)
        for name in names:
            await self._systemd.watch(unit_name.timer(self._app, name))
            await self._systemd.watch(unit_name.timer_service(self._app, name))

    async def _start(self, live: Generation) -> None:
        """Start the timers that were never started, as one is that was just installed. Those that an administrator has
        stopped or disabled stay so."""
        if not self._up():
            return
        for item in live.settings.timers:
            unit = unit_name.timer(self._app, item.name)
            seen = await self._systemd.read(
                unit, UNIT, ("ActiveState", "ActiveEnterTimestampMonotonic", "UnitFileState")
            )
            new = seen["ActiveState"] == "inactive" and not seen["ActiveEnterTimestampMonotonic"]
            if new and seen["UnitFileState"] == "enabled":
                await (await self._systemd.start(unit))

    def running(self) -> set[str]:
        """Return the timers of which a run is under way."""
        return {name for name in self._names if self._state(unit_name.timer_service(self._app, name)) in RUNNING}

    def under_way(self) -> dict[str, int]:
        """Map the timers of which a run is under way to its generation. Raises StateError."""
        running = self.running()
        runs = self._units.runs.read(self._app) if running else {}
        return {name: generation for name, generation in runs.items() if name in running}

    def states(self) -> tuple[TimerState, ...]:
        """Return the timers with their next and last runs. Raises StateError."""
        runs = self._units.runs.read(self._app) if self._names else {}
        now = Timestamp.now()
        return tuple(self._seen(name, runs.get(name), now.wall - now.monotonic) for name in self._names)

    def _seen(self, name: str, generation: int | None, boot: float) -> TimerState:
        unit = self._systemd.properties(unit_name.timer(self._app, name))
        service = self._systemd.properties(unit_name.timer_service(self._app, name))
        return timer(name, unit, service, generation, boot)

    def _state(self, unit: str) -> str:
        return str(self._systemd.properties(unit).get("ActiveState", ""))
