"""What must stand on the machine before instances of a generation can run: units, sockets, generation files.

`prepare` only looks and writes what nothing uses yet; `install` changes the machine and may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployd import render
from deployd.errors import Refused, SystemdError
from deployd.model.app import App
from deployd.plan.goal import Goal
from deployd.render import Unit
from deployd.state.pins import Pins
from deployd.state.units import UnitDirectory
from deployd.systemd.manager import Systemd

log = logging.getLogger(__name__)

SOCKET_TIMEOUT = 30.0


SettingsOf = Callable[[str, int], App | None]
"""(app, generation) to the settings of that generation, if it is known."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The unit files that a goal wants."""

    units: tuple[Unit, ...]
    own: frozenset[int]
    """Instances that get a unit of their own: they run an older generation whose unit settings differ."""
    stale: tuple[str, ...]
    """Units of single instances that are there and no longer needed."""


class Deployment:
    """Unit files in `units`, generation files through `pins`, both told to `systemd`."""

    def __init__(
        self,
        systemd: Systemd,
        units: UnitDirectory,
        pins: Pins,
        settings_of: SettingsOf,
        state_dir: Path,
        command: str,
    ) -> None:
        self._systemd = systemd
        self._units = units
        self._pins = pins
        self._settings_of = settings_of
        self._state_dir = str(state_dir)
        self._command = command
        # Unit files and daemon-reload are the machine's, not an app's: one at a time.
        self._lock = asyncio.Lock()

    def layout(self, app: App, goal: Goal) -> Layout:
        """The units for `goal`, whose settings are `app`.

        The template belongs to the goal's generation. An instance of an older one whose template would read
        otherwise gets that text as a unit file of its own, so that it comes back as it was when systemd restarts it;
        its number is not used for a new instance, and so one daemon-reload does for the whole rollout.
        """
        template = self._template(app)
        pins = self._pins.read(app.name)
        texts = {
            number: self._template(settings)
            for number, generation in pins.items()
            if generation not in goal.same | {goal.generation}
            and (settings := self._settings_of(app.name, generation)) is not None
        }
        own = {number: text for number, text in texts.items() if text != template}
        stale = tuple(
            f"{app.name}@{number}.service" for number in sorted(self._units.own(app.name).keys() - own.keys())
        )
        needed = max(goal.ceiling + len(own), max(pins, default=0))
        alone = tuple(Unit(f"{app.name}@{number}.service", text) for number, text in sorted(own.items()))
        # An umbrella that could start a few more than needed does no harm; rewriting it costs a daemon-reload.
        roomy = self._render(app, max(needed, self._reach(app.name)))
        if not stale and self._reach(app.name) <= 2 * goal.ceiling and not self._units.diff((*roomy, *alone)):
            return Layout((*roomy, *alone), frozenset(own), stale)
        return Layout((*self._render(app, needed), *alone), frozenset(own), stale)

    def _template(self, app: App) -> str:
        return next(unit.text for unit in self._render(app, 1) if unit.name == f"{app.name}@.service")

    def _render(self, app: App, instances: int) -> tuple[Unit, ...]:
        return render.units(app, instances, self._state_dir, self._command)

    def _reach(self, name: str) -> int:
        """The highest instance number that the installed umbrella starts."""
        text = self._units.installed(name).get(f"{name}.service", "")
        return max((int(number) for number in re.findall(rf"{re.escape(name)}@([0-9]+)\.service", text)), default=0)

    def installed(self, name: str) -> dict[str, str]:
        """Unit name to the text that is installed now."""
        return self._units.installed(name)

    def path(self, unit: str) -> str:
        """Where a unit of that name is installed."""
        return self._units.path_of(unit)

    async def prepare(self, app: App, goal: Goal, release: str) -> None:
        """Verify the units and write the files of the goal's generation. Raises Refused, InvalidFile, StateError."""
        units = self.layout(app, goal).units
        self._check_socket(app.name, units)
        if self._units.diff(units):
            self._units.require_writable()
            await self._units.verify([unit for unit in units if unit.name in render.unit_names(app.name)])
        files = render.generation_files(app, goal.generation, release)
        self._pins.write_generation(app.name, goal.generation, files, release)

    def _check_socket(self, name: str, units: tuple[Unit, ...]) -> None:
        socket = f"{name}.socket"
        old = self._units.installed(name).get(socket)
        new = next(unit.text for unit in units if unit.name == socket)
        if old is None or old == new:
            return
        # systemd closes a socket whose unit was edited, and cannot reopen it while instances live (EBUSY).
        if _listens(old) != _listens(new):
            raise Refused(
                f"listen of {name} changed from {' '.join(_listens(old))} to {' '.join(_listens(new))}: this version"
                f" cannot change the address of a running app; put it back, or deployd remove {name} and apply anew"
            )
        raise Refused(
            f"[socket] of {name} changed: this version cannot change an open socket; put it back, or deployd remove"
            f" {name} and apply anew"
        )

    async def install(self, app: App, goal: Goal) -> frozenset[int]:
        """Install the goal's units, reload systemd if they changed, and open the socket.

        Returns the instance numbers that new instances must not get. Raises StateError, SystemdError, and Refused
        for a socket that cannot be opened.
        """
        async with self._lock:
            first = not self._units.installed(app.name)
            layout = self.layout(app, goal)
            if self._units.install(layout.units, layout.stale):
                log.info("%s: units changed, reloading systemd", app.name)
                await self._systemd.reload()
            if first:
                await self._systemd.enable([f"{app.name}.socket", f"{app.name}.service"])
            await self._open(f"{app.name}.socket")
            return layout.own

    async def _open(self, socket: str) -> None:
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
            # No use to try again: somebody else has the address, most likely.
            raise Refused(f"{socket} could not listen (its start job ended with {result}); see journalctl -u {socket}")

    async def remove(self, name: str) -> None:
        """Stop socket, umbrella and with it the instances; then take units, pins and generation files away."""
        async with self._lock:
            for unit in (f"{name}.socket", f"{name}.service"):
                await self._stop(unit)
            for unit in await self._systemd.list_units(f"{name}@*.service"):
                await self._stop(unit)
                await self._systemd.reset_failed(unit)
            if self._units.installed(name):
                await self._systemd.disable([f"{name}.socket", f"{name}.service"])
                self._units.remove(name)
                await self._systemd.reload()
            self._pins.remove(name)

    async def _stop(self, unit: str) -> None:
        try:
            job = await self._systemd.stop(unit)
        except SystemdError as error:
            log.debug("%s: %s, ignoring", unit, error)  # not loaded: nothing to stop
            return
        # TimeoutStopSec= of the unit bounds it; systemd kills what does not go.
        await job


def _listens(text: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith("Listen")]
