"""Deployment of a generation: installs the unit files, sockets and generation files that its instances need.

`prepare` verifies, and writes files that are not used yet; `install` changes the machine and may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from deployd.errors import Refused, StateError
from deployd.model import unit_name
from deployd.model.app import App
from deployd.model.scope import SYSTEM, Scope
from deployd.plan.goal import Goal
from deployd.state.pins import Pins
from deployd.state.runs import Runs
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT
from deployd.units import layout, present
from deployd.units.directory import UnitDirectory
from deployd.units.edits import refuse_edits
from deployd.units.layout import Layout
from deployd.units.occupants import occupants, refusal
from deployd.units.present import Present
from deployd.units.shared_sockets import SharedSockets
from deployd.units.socket_opening import UP, SocketOpening
from deployd.units.text import Unit, credentials, generation_files, is_steered, sockets, timer_units, unit_files
from deployd.units.text.sockets import Socket
from deployd.units.timers import TimerUnits

log = logging.getLogger(__name__)

SettingsOf = Callable[[str, int], App | None]
"""Returns the settings of a generation of an app, if they are known."""


class Deployment:
    """Installs unit files through `units` and generation files through `pins`, and has `systemd` load them.

    An app has a lock of its own, which is held during slow operations. `reload` has the lock of the machine.
    """

    def __init__(
        self,
        systemd: Systemd,
        units: UnitDirectory,
        reload: DaemonReload,
        pins: Pins,
        settings_of: SettingsOf,
        state_dir: Path,
        command: str,
        *,
        steerable: bool = False,
        scope: Scope = SYSTEM,
    ) -> None:
        self._systemd = systemd
        self._units = units
        self._pins = pins
        self._settings_of = settings_of
        self._render: layout.Render = partial(unit_files, state_dir=str(state_dir), command=command, scope=scope)
        self._steerable = steerable
        self._reload = reload
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._opening = SocketOpening(systemd, reload, scope.runtime_units)
        self._sockets = SharedSockets(systemd, units, reload, self._present, self._render, self._opening)
        self._listening: dict[str, tuple[Socket, ...]] = {}
        render = partial(timer_units, state_dir=str(state_dir), scope=scope)
        self.timers = TimerUnits(systemd, units, reload, Runs(state_dir), render)
        """The units of timers, which are those of the live generation."""

    def sweep(self) -> None:
        """Remove what a killed daemon has left."""
        self._opening.sweep()

    def layout(self, app: App, goal: Goal, *, closing: bool = False) -> Layout:
        """Return the units for `goal`, whose settings are `app`; see `layout.layout`. Raises Refused and StateError."""
        return self._layout(app, goal, self._present(app.name), closing=closing)

    def _layout(self, app: App, goal: Goal, there: Present, *, closing: bool = False) -> Layout:
        def settings_of(generation: int) -> App | None:
            return self._settings(app, generation)

        return layout.layout(app, goal, there, settings_of, self._render, closing=closing)

    def settled(self, app: App, goal: Goal) -> tuple[Unit, ...]:
        """Return the app's units for the time after `goal` is reached. Raises Refused and StateError."""
        return layout.settled(app, goal, self._present(app.name), self._render)

    def closing(self, app: App) -> tuple[str, ...]:
        """Return the addresses that `app` no longer has and instances still hold."""
        there = self._present(app.name)
        held = there.in_use(there.pins)
        return tuple(address for item in there.place(app).going if item.name in held for address in item.addresses)

    def _settings(self, app: App, number: int) -> App | None:
        """Return the settings of an older generation, with the gate timeout of `app` if that was learned: a timeout
        learned meanwhile is no reason for another unit."""
        found = self._settings_of(app.name, number)
        return found.with_learned(app.gate.timeout) if found is not None and app.gate.learned else found

    def _present(self, name: str) -> Present:
        return present.read(name, self._units, self._pins, steerable=self._steerable)

    def has_own_sockets(self, name: str) -> bool:
        """True if the installed units give each instance listening sockets of its own."""
        return bool(is_steered(self._units.installed(name), name))

    def changes_routing(self, app: App) -> bool:
        """True if a rollout of `app` replaces shared sockets by sockets of each instance, or the other way round, or
        one that does is not finished. Raises StateError."""
        return self._present(app.name).changes_routing(app)

    def steers(self, name: str) -> bool:
        """True if the instances have sockets of their own and this machine can steer connections to them."""
        return self._steerable and self.has_own_sockets(name)

    def can_steer(self, app: App) -> bool:
        """True if the instances of `app` are to have sockets of their own and this machine can steer them."""
        return self._steerable and self._present(app.name).steers(app)

    def apps(self) -> list[str]:
        """Return the apps that have units."""
        return self._units.apps()

    def steered(self, names: Iterable[str]) -> set[str]:
        """Return those of the apps that may be steered; an app whose units cannot be read is one of them."""
        found = set()
        for name in names:
            try:
                found |= {name} if self.has_own_sockets(name) else set()
            except StateError as error:
                log.warning("%s: %s", name, error)
                found.add(name)
        return found

    def installed(self, name: str) -> dict[str, str]:
        """Return the installed units of the app as a whole: name to text."""
        return self._units.installed(name)

    def sockets(self, name: str) -> tuple[str, ...]:
        """Return the names of the installed shared sockets."""
        return tuple(item.name for item in self.listening(name))

    def listening(self, name: str) -> tuple[Socket, ...]:
        """Return the installed shared sockets. Raises StateError."""
        if name not in self._listening:  # read again after each change: every turn of the control loop asks
            self._listening[name] = self._present(name).sockets()
        return self._listening[name]

    def is_opening(self, name: str) -> bool:
        """True while the app unit is down only because a socket of the app is being opened."""
        return self._opening.is_aside(name)

    async def open(self, name: str) -> bool:
        """Open the shared sockets that were closed while the app is up; return False if there are none.

        Raises StateError, SystemdError, and Refused for one that cannot listen, after all have been tried.
        """
        async with self._locks[name]:
            opened, refused = False, None
            for socket in self.listening(name):
                try:
                    opened |= await self._opening.open(name, socket)
                except Refused as error:
                    refused = error
            if refused is not None:
                raise refused
            return opened

    def masked(self, name: str) -> frozenset[int]:
        """Return the instances that are masked, or that a drop-in of their own breaks: systemd does not start them, or
        not as instances of the app. Raises StateError."""
        return self._units.masked(name) | self._units.unfit(name).keys()

    def unfit(self, name: str) -> dict[int, str]:
        """Return the instances that a drop-in of their own breaks, each with the reason. Raises StateError."""
        return self._units.unfit(name)

    def special(self, name: str) -> frozenset[int]:
        """Return the instances that have drop-ins of their own."""
        return self._units.special(name)

    def path(self, unit: str) -> str:
        """Return the path at which a unit of that name is installed."""
        return self._units.path_of(unit)

    async def prepare(self, app: App, goal: Goal, release: str) -> None:
        """Verify the units and write the files of the goal's generation. Raises Refused, InvalidFile and StateError."""
        there = self._present(app.name)
        if goal.generation not in there.pins.values():
            # A request that came to nothing may have left this directory, for another goal.
            there.generation_sockets.pop(goal.generation, None)
        wanted = self._layout(app, goal, there)
        refuse_edits(app, there, wanted)
        if await self._is_up(app.name):
            await self.open(app.name)
            await self._refuse_occupied(there)
        units = (*wanted.units, *self.timers.wanted(app, goal.generation))
        differs = bool(self._units.diff((*wanted.files, *units)))
        if differs:
            self._units.require_writable()
        if differs or self._units.has_drop_ins(units):
            await self._units.verify(app.name, units)
        socket = there.generation_socket(app, goal, partial(self._settings, app))
        files = generation_files(app, goal.generation, release, socket)
        self._pins.write_generation(app.name, goal.generation, files, release, credentials(app))

    async def check(self, app: App) -> None:
        """Verify the units that the next generation of `app` would have. Raises Refused, InvalidFile, StateError and
        SystemdError."""
        there = self._present(app.name)
        pinned = frozenset(there.pins.values())
        goal = Goal.of(app, max(pinned, default=0) + 1, same=pinned)
        wanted = self._layout(app, goal, there)
        refuse_edits(app, there, wanted)
        await self._units.verify(app.name, (*wanted.units, *self.timers.wanted(app, goal.generation)))

    async def _refuse_occupied(self, there: Present) -> None:
        """Raise Refused if another process listens where the instances of a steered app should: none could start."""
        unit = unit_name.instance_socket(there.name, "")
        addresses = sockets.parse(unit, there.installed.get(unit, "")).addresses
        found = await asyncio.to_thread(occupants, addresses) if addresses else []
        others = [item for item in found if item.unit and not unit_name.listens_for(there.name, item.unit)]
        if others:
            raise Refused(refusal(unit, addresses, "", others))

    async def install(
        self, app: App, goal: Goal, *, closing: bool = False, lenient: bool = False, urgent: bool = False
    ) -> frozenset[int]:
        """Install the goal's units, reload systemd if they changed, and open the sockets, a new one before anything
        else changes. See `layout` for `closing`.

        Returns the instance numbers that new instances must not get. Raises StateError, SystemdError, and Refused for a
        socket that cannot be opened, which is then removed again. A `lenient` installation continues without it. An
        `urgent` one does not reload systemd if only the app unit changed: no start depends on that, and at boot its
        file is read in any case. :meth:`load` does it later.

        The layout is computed anew just before it is written, and not taken from `prepare`: the pins may have changed
        since, because hooks may run for hours in between.
        """
        async with self._locks[app.name]:
            first = not self._units.installed(app.name)
            for socket in () if first else self._present(app.name).to_open(app):
                await self._open_new(app, goal, socket.name, closing=closing)
            # An app that is up was enabled when it was installed. If it was disabled since, it stays disabled.
            enabled = () if not first and await self._is_up(app.name) else [unit_name.app_unit(app.name)]
            wanted = await self._install(
                app.name, partial(self.layout, app, goal, closing=closing), enabled=enabled, urgent=urgent
            )
            for socket in wanted.placement.wanted:
                try:
                    await self._sockets.open(app.name, socket.name)
                except Refused as error:
                    if not lenient:
                        raise
                    log.warning("%s: %s", app.name, error)
            return wanted.avoid

    async def load(self, name: str) -> None:
        """Reload systemd if the app unit is not loaded as it is installed. Raises SystemdError."""

        async def written() -> bool:
            return True

        (outdated,) = (await self._systemd.read(unit_name.app_unit(name), UNIT, ["NeedDaemonReload"])).values()
        if outdated:
            await self._reload.after(written)

    async def _open_new(self, app: App, goal: Goal, socket: str, *, closing: bool) -> None:
        """Install, enable and open a socket of the layout of `goal`; the rest of the layout is installed after it.

        The service of the socket is written last: a socket without it may not be enabled, because a daemon was killed.
        The daemon-reload comes with the rest: systemd loads unit files without one if it does not know the units.
        """
        names = sockets.files(app.name, socket)

        async def write() -> bool:
            wanted = self.layout(app, goal, closing=closing)
            self._listening.pop(app.name, None)
            self._units.install([wanted.unit(socket)])
            await self._systemd.enable([socket])
            self._units.install([wanted.unit(name) for name in names])
            return bool(await self._systemd.states(names))

        await self._reload.after(write)
        await self._sockets.open(app.name, socket)

    async def put_back(self, app: App, goal: Goal) -> None:
        """Install the units of a `goal` without instances. Opens no sockets: they may have been stopped with the app.

        Raises StateError and SystemdError.
        """

        def wanted() -> Layout:
            there = replace(self._present(app.name), pins={})
            return layout.layout(app, goal, there, lambda _: None, self._render, closing=False)

        async with self._locks[app.name]:
            await self._install(app.name, wanted)
        await self.close_sockets(app)

    async def _install(
        self, name: str, wanted: Callable[[], Layout], *, enabled: Sequence[str] = (), urgent: bool = False
    ) -> Layout:
        """Install the layout that `wanted` returns and enable the units `enabled`, with the app unit also its sockets.
        `urgent` as for install().

        Both before the daemon-reload: systemctl isolate stops a unit that was enabled after the last one.
        """
        found: list[Layout] = []

        async def write() -> bool:
            found.append(wanted())
            self._listening.pop(name, None)
            later = (
                urgent and not found[0].stale and set(self._units.diff(found[0].files)) <= {unit_name.app_unit(name)}
            )
            changed = self._units.install(found[0].files, found[0].stale) and not later
            if enabled:
                listening = found[0].placement.wanted if unit_name.app_unit(name) in enabled else ()
                changed |= await self._systemd.enable([*enabled, *(item.name for item in listening)])
            return changed

        if await self._reload.after(write):
            log.info("%s: units changed, systemd was reloaded", name)
        return found[0]

    async def _is_up(self, name: str) -> bool:
        (state,) = (await self._systemd.read(unit_name.app_unit(name), UNIT, ["ActiveState"])).values()
        return state in UP

    async def close_sockets(self, app: App, leaving: frozenset[int] = frozenset()) -> bool:
        """Close the shared sockets that neither `app` nor a pinned instance uses; instances that are `leaving` do not
        count. Returns False if there are none. Raises StateError and SystemdError.

        May be repeated: sockets that a killed daemon left open are closed by the next one.
        """
        async with self._locks[app.name]:
            try:
                return await self._sockets.close(app, leaving)
            finally:
                self._listening.pop(app.name, None)
