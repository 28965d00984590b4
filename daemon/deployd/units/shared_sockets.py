"""Opening and closing of the sockets that all instances of an app share, and closing of those of its instances."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from deployd.errors import Refused, SystemdError
from deployd.model import unit_name
from deployd.model.app import App
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UnitRefused
from deployd.units.directory import UnitDirectory
from deployd.units.layout import Render
from deployd.units.present import Present
from deployd.units.socket_opening import SocketOpening
from deployd.units.text import Unit, sockets
from deployd.units.text.sockets import Socket
from deployd.units.unix_addresses import UnixAddresses, is_link

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds that a socket may take to open or close."""


class SharedSockets:
    """Opens and closes shared sockets, for a caller that holds the lock of their app.

    `present` reads what an app has on this machine.
    """

    def __init__(
        self,
        systemd: Systemd,
        units: UnitDirectory,
        reload: DaemonReload,
        present: Callable[[str], Present],
        render: Render,
        opening: SocketOpening,
    ) -> None:
        self._systemd = systemd
        self._units = units
        self._reload = reload
        self._present = present
        self._render = render
        self._opening = opening

    async def open(self, name: str, socket: str) -> bool:
        """Open a socket of the app `name`, and return False if it is open. One that cannot be opened and is not in use
        is removed.

        Raises StateError, SystemdError, and Refused if the socket cannot listen.
        """
        try:
            return await self._opening.open(name, self._present(name).socket(socket))
        except Refused:
            await self._remove_unused(name, socket)
            raise

    async def close(self, app: App, leaving: frozenset[int]) -> bool:
        """Close the sockets that neither `app` nor a pinned instance uses; instances that are `leaving` do not count.

        Returns False if there are none. Raises StateError and SystemdError.
        """
        there = self._present(app.name)
        staying = there.pins.keys() - leaving
        idle = _names(there.place(app).going) - there.in_use(staying)
        # Of an app that was steered until now.
        own = there.has_steered_units and not there.steers(app) and not any(map(there.has_own_sockets, staying))
        if not idle and not own:
            return False
        log.info("%s: closing %s", app.name, " ".join(sorted(idle)) if idle else "the sockets of its instances")
        paths = _paths(item for item in there.sockets() if item.name not in idle) if own else []
        addresses = UnixAddresses(app.name, self._systemd)
        if led := [address for address in paths if is_link(address)]:
            await addresses.lead_to_shared(led)
        if own:
            await self._stop_own(app.name)
        await self._close(app.name, idle, partial(self._without, app, idle), own=own)
        if paths:
            await addresses.clear(paths)
        return True

    async def _remove_unused(self, name: str, socket: str) -> None:
        """Remove a socket that could not be opened, unless there are instances that hold it."""
        there = self._present(name)
        if socket not in there.in_use(there.pins):
            await self._close(name, frozenset({socket}))

    def _without(self, app: App, idle: frozenset[str], there: Present) -> list[Unit]:
        """Return the app unit without these sockets, and the template of the instances if it has one of them: no
        instance that was started with it is left. Those that remain are the only ones at their addresses again.

        A UNIX socket that was opened next to its address is at the address by now, under both names. systemd finds that
        they are the same, and keeps it open (socket_address_equal() in its socket-util.c).
        """
        app_unit, template = unit_name.app_unit(app.name), unit_name.template(app.name)
        held = sockets.held(app.name, there.installed.get(template, ""))
        remaining = tuple(item for item in there.sockets() if item.name not in idle)
        units = self._render(
            app,
            there.reach(),
            listening=remaining,
            held=held - idle,
            probe_sockets=False,
            steer=there.steers(app),
            alongside=False,
            generation_socket=None,
        )
        names = {app_unit, template} if held & idle else {app_unit}
        if not there.steers(app) and there.has_steered_units:
            names |= _names(remaining)
        return [unit for unit in units if unit.name in names]

    async def _stop_own(self, name: str) -> None:
        """Stop the sockets of instances and of generations, and what a connection to one has started."""
        for pattern in (unit_name.instance_socket(name, "*"), unit_name.generation_socket(name, "*")):
            for unit in await self._systemd.list_units(pattern):
                await self._stop(unit)
        for unit in await self._systemd.list_units(unit_name.instance_socket_starter(name, "*")):
            await self._stop(unit)

    async def _close(
        self,
        name: str,
        names: frozenset[str],
        rewritten: Callable[[Present], Sequence[Unit]] = lambda _: (),
        *,
        own: bool = False,
    ) -> None:
        """Stop the sockets `names` and their services, and remove their unit files, with `own` also those of the
        sockets of instances; install what `rewritten` returns.

        They are stopped first: if this daemon were killed, the next one could not find units without files.
        """
        units = [unit for item in sorted(names) for unit in sockets.files(name, item)]
        for unit in units:
            await self._stop(unit)
            await self._systemd.reset_failed(unit)

        async def write() -> bool:
            await self._systemd.disable(sorted(names))
            there = self._present(name)
            gone = [unit_name.instance(name, number) for number in there.own if number not in there.pins]
            stale = [*(unit for unit in units if unit in there.installed), *gone]
            if own:
                stale += there.units_of_own_sockets()
            return self._units.install(rewritten(there), stale)

        await self._reload.after(write)

    async def _stop(self, unit: str) -> None:
        try:
            await asyncio.wait_for(await self._systemd.stop(unit), TIMEOUT)
        except UnitRefused as error:
            log.debug("%s: %s, ignoring", unit, error)  # not loaded: nothing to stop
        except TimeoutError:
            raise SystemdError(f"{unit} did not stop within {TIMEOUT:g} s") from None


def _paths(items: Iterable[Socket]) -> list[str]:
    return [address for item in items for address in item.addresses if address.startswith("/")]


def _names(items: Iterable[Socket]) -> frozenset[str]:
    return frozenset(item.name for item in items)
