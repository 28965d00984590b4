"""What must stand on the machine before instances of a generation can run: units, sockets, generation files.

`prepare` only looks and writes what nothing uses yet; `install` changes the machine and may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from deployd import render
from deployd.errors import Refused, SystemdError
from deployd.model.app import App
from deployd.pins import Pins
from deployd.render import Unit
from deployd.systemd1 import Systemd
from deployd.units import UnitDirectory

log = logging.getLogger(__name__)

SOCKET_TIMEOUT = 30.0


class Deployment:
    """Unit files in `units`, generation files through `pins`, both told to `systemd`."""

    def __init__(self, systemd: Systemd, units: UnitDirectory, pins: Pins, state_dir: Path, command: str) -> None:
        self._systemd = systemd
        self._units = units
        self._pins = pins
        self._state_dir = str(state_dir)
        self._command = command
        # Unit files and daemon-reload are the machine's, not an app's: one at a time.
        self._lock = asyncio.Lock()

    def render(self, app: App, instances: int) -> tuple[Unit, ...]:
        """The units of `app` with the umbrella wanting instances 1 to `instances`."""
        return render.units(app, instances, self._state_dir, self._command)

    def installed(self, name: str) -> dict[str, str]:
        """Unit name to the text that is installed now."""
        return self._units.installed(name)

    def path(self, unit: str) -> str:
        """Where a unit of that name is installed."""
        return self._units.path_of(unit)

    async def prepare(self, app: App, instances: int, number: int, release: str) -> None:
        """Verify the units and write the files of generation `number`. Raises Refused, InvalidFile, StateError."""
        units = self.render(app, instances)
        self._check_socket(app.name, units)
        if self._units.diff(units):
            await self._units.verify(units)
        self._pins.write_generation(app.name, number, render.generation_files(app, number, release), release)

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

    async def install(self, app: App, instances: int) -> None:
        """Install the units, reload systemd if they changed, and open the socket."""
        async with self._lock:
            first = not self._units.installed(app.name)
            if self._units.install(self.render(app, instances)):
                log.info("%s: units changed, reloading systemd", app.name)
                await self._systemd.reload()
            if first:
                await self._systemd.enable([f"{app.name}.socket", f"{app.name}.service"])
            await self._open(f"{app.name}.socket")

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
            raise SystemdError(
                f"{socket} could not listen (its start job ended with {result}); see journalctl -u {socket}"
            )

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
