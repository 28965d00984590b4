"""What must stand on the machine before instances of a generation can run: units, sockets, generation files.

`prepare` only looks and writes what nothing uses yet; `install` changes the machine and may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from deployd.errors import Refused, StateError, SystemdError
from deployd.model import unit_name
from deployd.model.app import App, Routing
from deployd.plan.goal import Goal
from deployd.state.pins import Pins
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT, UnitRefused
from deployd.units import layout, render
from deployd.units.directory import UnitDirectory
from deployd.units.layout import Layout, Present
from deployd.units.render import Unit, sockets, steered
from deployd.units.render.sockets import Socket

log = logging.getLogger(__name__)

SOCKET_TIMEOUT = 30.0
"""Seconds that a socket may take to open or close."""

SettingsOf = Callable[[str, int], App | None]
"""(app, generation) to the settings of that generation, if it is known."""


class Deployment:
    """Installs unit files through `units` and generation files through `pins`, and has `systemd` load them. Slow
    operations hold the app's lock only; the lock of the machine is in `reload`."""

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
    ) -> None:
        self._systemd = systemd
        self._units = units
        self._pins = pins
        self._settings_of = settings_of
        self._render: layout.Render = partial(render.units, state_dir=str(state_dir), command=command)
        self._steerable = steerable
        self._reload = reload
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def layout(self, app: App, goal: Goal, *, closing: bool = False) -> Layout:
        """The units for `goal`, whose settings are `app`; see `layout.layout`. Raises Refused and StateError."""
        there = self._present(app.name)

        def settings_of(generation: int) -> App | None:
            return self._settings(app, generation)

        return layout.layout(app, goal, there, settings_of, self._render, closing=closing)

    def settled(self, app: App, goal: Goal) -> tuple[Unit, ...]:
        """The app's units as they are to be when `goal` is reached. Raises Refused and StateError."""
        return layout.settled(app, goal, self._present(app.name), self._render)

    def closing(self, app: App) -> tuple[str, ...]:
        """Addresses that `app` no longer has and instances hold: these have to be replaced before they can close."""
        there = self._present(app.name)
        held = there.in_use(there.pins)
        return tuple(address for item in there.place(app).going if item.name in held for address in item.addresses)

    def _settings(self, app: App, number: int) -> App | None:
        """Of an older generation; a gate timeout that was learned since is no reason for another unit."""
        found = self._settings_of(app.name, number)
        return found.with_learned(app.gate.timeout) if found is not None and app.gate.learned else found

    def _present(self, name: str) -> Present:
        units = self._units
        return Present(
            name,
            units.installed(name),
            units.own(name),
            self._pins.held(name),
            units.masked(name),
            units.own_sockets(name),
            self._steerable,
        )

    def has_own_sockets(self, name: str) -> bool:
        """True if the installed units give each instance listening sockets of its own."""
        return bool(steered.is_steered(self._units.installed(name), name))

    def steers(self, name: str) -> bool:
        """True if the instances have sockets of their own, and this machine can steer connections to them."""
        return self._steerable and self.has_own_sockets(name)

    def apps(self) -> list[str]:
        """The apps that have units."""
        return self._units.apps()

    def steered(self, names: Iterable[str]) -> set[str]:
        """Those of the apps that may be steered: all but those that certainly are not."""
        found = set()
        for name in names:
            try:
                found |= {name} if self.has_own_sockets(name) else set()
            except StateError as error:
                log.warning("%s: %s", name, error)
                found.add(name)
        return found

    def installed(self, name: str) -> dict[str, str]:
        """Unit name to the text that is installed now."""
        return self._units.installed(name)

    def sockets(self, name: str) -> tuple[str, ...]:
        """The names of the socket units that are installed."""
        return tuple(item.name for item in self._present(name).sockets())

    def masked(self, name: str) -> frozenset[int]:
        """The instances that systemd will not start."""
        return self._units.masked(name)

    def path(self, unit: str) -> str:
        """Where a unit of that name is installed."""
        return self._units.path_of(unit)

    async def prepare(self, app: App, goal: Goal, release: str) -> None:
        """Verify the units and write the files of the goal's generation. Raises Refused, InvalidFile, StateError."""
        wanted = self.layout(app, goal)
        self._refuse_edits(app, wanted)
        if self._units.diff(wanted.files):
            self._units.require_writable()
            await self._units.verify(wanted.units)
        files = render.generation_files(app, goal.generation, release)
        self._pins.write_generation(app.name, goal.generation, files, release)

    def _refuse_edits(self, app: App, wanted: Layout) -> None:
        """systemd closes a socket whose unit was edited, and cannot reopen it while the app is up (EBUSY)."""
        name, installed = app.name, self._units.installed(app.name)
        now = [self._settings_of(name, number) for number in set(self._pins.held(name).values())]
        if any(its is not None and its.routing is not app.routing for its in now):
            other = Routing.SHARED if app.routing is Routing.STEERED else Routing.STEERED
            raise Refused(
                f"routing of {name} changed: its addresses are open as {other} ones; put it back, or deployd remove"
                f" {name} and apply anew"
            )
        for socket in wanted.placement.kept:
            if sockets.settings(wanted.unit(socket.name).text) != sockets.settings(installed[socket.name]):
                raise Refused(
                    f"[socket] of {name} changed: this version cannot change an open socket; put it back, or deployd"
                    f" remove {name} and apply anew"
                )

    async def install(self, app: App, goal: Goal, *, closing: bool = False) -> frozenset[int]:
        """Install the goal's units, reload systemd if they changed, and open the sockets: a new one before anything
        else changes. See `layout` for `closing`.

        Returns the instance numbers that new instances must not get. Raises StateError, SystemdError, and Refused
        for a socket that cannot be opened, which then leaves nothing behind.
        """
        async with self._locks[app.name]:
            first = not self._units.installed(app.name)
            new = self.layout(app, goal, closing=closing).placement.new
            if new is not None and not first:
                only = partial(self._only, app, goal, new.name, closing=closing)
                await self._install(app.name, only, enabled=[new.name])
                await self._open(app.name, new.name)
            # One that is up was enabled when it was installed; whoever disabled it since does not want it at boot.
            enabled = () if not first and await self._is_up(app.name) else [unit_name.app_unit(app.name)]
            wanted = await self._install(app.name, partial(self.layout, app, goal, closing=closing), enabled=enabled)
            for socket in wanted.placement.wanted:
                await self._open(app.name, socket.name)
            return wanted.avoid

    def _only(self, app: App, goal: Goal, socket: str, *, closing: bool) -> Layout:
        """The layout of `goal`, of which nothing but this socket is to be installed yet."""
        wanted, names = self.layout(app, goal, closing=closing), sockets.files(app.name, socket)
        units = tuple(unit for unit in wanted.units if unit.name in names)
        return replace(wanted, units=units, alone=(), stale=())

    async def put_back(self, app: App, goal: Goal) -> None:
        """Install the units of a `goal` of which nothing runs, and open nothing: its sockets may have been stopped with
        it. Raises StateError and SystemdError."""

        def wanted() -> Layout:
            there = replace(self._present(app.name), pins={})
            return layout.layout(app, goal, there, lambda _: None, self._render, closing=False)

        async with self._locks[app.name]:
            await self._install(app.name, wanted)
        await self.close_sockets(app)

    async def _install(self, name: str, wanted: Callable[[], Layout], *, enabled: Sequence[str] = ()) -> Layout:
        """Install what is `wanted` when it is time to write, and have these units `enabled` before systemd reads them;
        with the app's its sockets. What systemd does not know to be enabled it stops when a target is isolated
        (systemctl(1))."""
        found: list[Layout] = []

        async def write() -> bool:
            found.append(wanted())
            changed = self._units.install(found[0].files, found[0].stale)
            if enabled:
                listening = found[0].placement.wanted if unit_name.app_unit(name) in enabled else ()
                changed |= await self._systemd.enable([*enabled, *(item.name for item in listening)])
            return changed

        if await self._reload.after(write):
            log.info("%s: units changed, systemd was reloaded", name)
        return found[0]

    async def _is_up(self, name: str) -> bool:
        (state,) = (await self._systemd.read(unit_name.app_unit(name), UNIT, ["ActiveState"])).values()
        return bool(state == "active")

    async def _open(self, name: str, socket: str) -> None:
        await self._systemd.watch(socket)
        await self._systemd.refresh(socket)
        try:
            if self._systemd.properties(socket).get("ActiveState") == "active":
                return
            result = await asyncio.wait_for(await self._systemd.start(socket), SOCKET_TIMEOUT)
        except TimeoutError:
            result = "timeout"
        finally:
            self._systemd.unwatch(socket)
        if result not in ("done", "unknown"):
            await self._take_back(name, socket)
            # No use to try again: somebody else has the address, most likely.
            raise Refused(f"{socket} could not listen (its start job ended with {result}); see journalctl -u {socket}")

    async def _take_back(self, name: str, socket: str) -> None:
        """Remove a socket that could not be opened, unless there are instances that hold it."""
        there = self._present(name)
        if socket not in there.in_use(there.pins):
            await self._close(name, frozenset({socket}))

    async def close_sockets(self, app: App, leaving: frozenset[int] = frozenset()) -> bool:
        """Close the sockets that neither `app` nor any pinned instance has, but for those that are `leaving`.

        False if there are none. May be repeated: what a daemon that was killed left open the next one closes. Raises
        StateError and SystemdError.
        """
        async with self._locks[app.name]:
            there = self._present(app.name)
            idle = _names(there.place(app).going) - there.in_use(there.pins.keys() - leaving)
            if not idle:
                return False
            log.info("%s: closing %s", app.name, " ".join(sorted(idle)))
            await self._close(app.name, idle, partial(self._without, app, idle))
            return True

    def _without(self, app: App, idle: frozenset[str], there: Present) -> list[Unit]:
        """The umbrella, and the template if nobody runs who was started with it, without these sockets."""
        app_unit, template = unit_name.app_unit(app.name), unit_name.template(app.name)
        held = sockets.held(app.name, there.installed.get(template, ""))
        remaining = tuple(item for item in there.sockets() if item.name not in idle)
        units = self._render(
            app, there.reach(), listening=remaining, held=held - idle, probe_sockets=False, steer=False
        )
        names = {app_unit, template} if held & idle else {app_unit}
        return [unit for unit in units if unit.name in names]

    async def _close(
        self, name: str, names: frozenset[str], rewritten: Callable[[Present], Sequence[Unit]] = lambda _: ()
    ) -> None:
        """Stopped first: what has no file any more the next daemon could not find."""
        units = [unit for item in sorted(names) for unit in sockets.files(name, item)]
        for unit in units:
            await self._stop(unit)
            await self._systemd.reset_failed(unit)

        async def write() -> bool:
            await self._systemd.disable(sorted(names))
            there = self._present(name)
            gone = [unit_name.instance(name, number) for number in there.own if number not in there.pins]
            stale = [*(unit for unit in units if unit in there.installed), *gone]
            return self._units.install(rewritten(there), stale)

        await self._reload.after(write)

    async def _stop(self, unit: str) -> None:
        try:
            await asyncio.wait_for(await self._systemd.stop(unit), SOCKET_TIMEOUT)
        except UnitRefused as error:
            log.debug("%s: %s, ignoring", unit, error)  # not loaded: nothing to stop
        except TimeoutError:
            raise SystemdError(f"{unit} did not stop within {SOCKET_TIMEOUT:g} s") from None


def _names(items: Iterable[Socket]) -> frozenset[str]:
    return frozenset(item.name for item in items)
