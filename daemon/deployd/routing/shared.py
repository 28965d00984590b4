"""Shared routing: all instances accept from one queue, and the next free one gets a connection."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from deployd.alarm import Alarm
from deployd.errors import DeploydError, Refused, SystemdError
from deployd.model import unit_name
from deployd.model.address import STOPPED, Address
from deployd.model.app import App, Routing
from deployd.model.instance import Instance, State
from deployd.model.instances import differing
from deployd.plan.reopening import Reopening
from deployd.routing.address_log import AddressLog
from deployd.routing.backend import Backend
from deployd.routing.kernel import Kernel
from deployd.routing.path_watch import PathWatch
from deployd.routing.report import Report
from deployd.routing.snapshot import Snapshot
from deployd.routing.socket_units import SocketUnits
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT
from deployd.units.deployment import Deployment
from deployd.units.occupants import is_on_interface
from deployd.units.text.sockets import Socket

log = logging.getLogger(__name__)

RETRY = 10.0
"""Seconds until another instance is restarted after one did not become ready."""


def _is_removed(path: str) -> bool:
    """True if nothing is at the path, although there could be: its directory is one that the daemon sees."""
    return os.path.isdir(os.path.dirname(path)) and not os.path.lexists(path)  # noqa: PTH112, PTH120 - called often


class Shared(Backend):
    """Keeps the shared sockets open while the app is up. Otherwise systemd and the kernel do everything.

    `changed` is called when :meth:`update` is needed although no unit has changed.
    """

    def __init__(
        self,
        app: str,
        systemd: Systemd,
        deployment: Deployment,
        kernel: Kernel,
        addresses: AddressLog,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._app = app
        self._systemd = systemd
        self._deployment = deployment
        self._kernel = kernel
        self._log = addresses
        self._changed = changed
        self._units = SocketUnits(app, systemd)
        self._sockets: tuple[Socket, ...] = ()
        self._settings: App | None = None
        self._up = False
        self._restored = False
        self._instances: tuple[Instance, ...] = ()
        self._reopening = Reopening()
        self._refusal = ""
        self._lost: frozenset[int] = frozenset()
        self._searched: tuple[tuple[Instance, ...], list[object]] = (), []
        """The instances and the sockets from which `_lost` was found."""
        self._suspicious: dict[int, tuple[Instance, list[str]]] = {}
        """Instances that may have lost sockets, and these sockets."""
        self._held: dict[tuple[int, str], frozenset[str]] = {}
        """Instance and invocation to the sockets that it is passed."""
        self._mending: asyncio.Task[None] | None = None
        self._alarm = Alarm(changed)
        self._paths = PathWatch(changed)
        self._missing: frozenset[str] = frozenset()
        """Paths at which nothing is, although their sockets were closed and opened again for that."""

    async def update(self, snapshot: Snapshot) -> bool:
        self._settings, self._up = snapshot.settings, snapshot.up
        self._instances = snapshot.instances
        await self._watch(self._deployment.listening(self._app))
        await self._close_removed()
        if not self._restored:
            self._restored = True
            await self._restore(snapshot)
        now = time.monotonic()
        self._reopening = self._reopening.observed(now, closed=self._up and bool(self._closed()))
        opened = False
        if self._reopening.is_due(now):
            opened = await self._try_again()
        if self._reopening.next_at is not None:
            self._alarm.set(self._reopening.next_at - time.monotonic())
        elif not self._closed():
            self._refusal = ""
        await self._find_lost(snapshot.instances)
        self._mend(snapshot)
        self._log.note(self.addresses())
        return opened

    async def reopen(self) -> None:
        if not self._closed():
            return
        await self._deployment.open(self._app)
        await self._refresh()

    def addresses(self) -> tuple[Address, ...]:
        return tuple(
            Address(address, item.name, self._units.is_open(item.name), self._reason(item, address))
            for item in self._sockets
            for address in item.addresses
        )

    def unreachable(self) -> dict[int, str]:
        if closed := [item for item in self.addresses() if not item.open]:
            why = f"{' '.join(item.address for item in closed)} is closed: {closed[0].reason}"
            return dict.fromkeys((item.number for item in self._instances), why)
        return dict.fromkeys(self._lost, "it runs without the listening socket, and is about to be restarted")

    def report(self) -> Report:
        reason = self._why_shared()
        steering = "none" if reason else None
        routing = Routing.SHARED if self._sockets or (self._settings and self._settings.listen) else Routing.NONE
        addresses, unreachable = self.addresses(), self.unreachable()
        return Report(routing, steering, reason=reason, addresses=addresses, unreachable=unreachable)

    def stop(self) -> None:
        self._alarm.close()
        self._paths.close()
        if self._mending is not None:
            self._mending.cancel()
        for socket in self._sockets:
            self._systemd.unwatch(socket.name)

    async def _restore(self, snapshot: Snapshot) -> None:
        """Start the app unit if a daemon that was killed had stopped it, without its instances, to open a socket."""
        ready = [item for item in snapshot.instances if item.state is State.READY and item.generation is not None]
        if self._up or not ready or snapshot.rollout is not None:
            return
        app_unit = unit_name.app_unit(self._app)
        for unit in (app_unit, unit_name.instance(self._app, ready[0].number)):
            if await self._systemd.job(unit) is not None:
                return  # the app is being stopped
        log.warning("%s: its instances run without %s; starting it", self._app, app_unit)
        await self._systemd.start(app_unit, alone=True)

    def _why_shared(self) -> str:
        """Return why the app is not steered although it has addresses and its file does not say "shared", or ""."""
        if self._settings is None or not self._settings.steered:
            return "" if self._settings is None else self._settings.routing_reason
        if self._kernel.obstacle:
            return self._kernel.obstacle
        return "deployd could not steer when the app was deployed; the next rollout changes that"

    async def _watch(self, sockets: tuple[Socket, ...]) -> None:
        for gone in {item.name for item in self._sockets} - {item.name for item in sockets}:
            self._systemd.unwatch(gone)
        self._sockets = sockets
        for item in sockets:
            await self._systemd.watch(item.name)

    async def _close_removed(self) -> None:
        """Close a socket one of whose paths was removed: only then can it be opened there again."""
        paths = {path: item.name for item in self._sockets for path in item.addresses if path.startswith("/")}
        self._paths.follow(paths)
        removed = frozenset(filter(_is_removed, paths))
        missing = frozenset(path for path in removed - self._missing if self._units.is_open(paths[path]))
        for path in sorted(missing):
            log.warning("%s: %s was removed; closing %s to open it again", self._app, path, paths[path])
            unit = paths[path]
            job = self._systemd.stop(unit, alone=True) if self._up else self._systemd.restart(unit)
            await self._units.end(await job)
            await self._systemd.refresh(paths[path])
        self._missing = removed & (self._missing | missing)

    async def _refresh(self) -> None:
        for item in self._sockets:
            await self._systemd.refresh(item.name)

    def _closed(self) -> list[Socket]:
        return [item for item in self._sockets if not self._units.is_open(item.name)]

    async def _try_again(self) -> bool:
        try:
            opened = await self._deployment.open(self._app)
            await self._refresh()
        except (Refused, SystemdError) as error:
            self._refusal = str(error)
            self._reopening = self._reopening.failed(time.monotonic())
            log.warning("%s: %s; trying again", self._app, error)
            await self._refresh()
            return False
        self._reopening = self._reopening.observed(time.monotonic(), closed=bool(self._closed()))
        if opened:
            log.warning("%s: a listening socket had been closed and was opened again", self._app)
        return opened

    async def _find_lost(self, instances: tuple[Instance, ...]) -> None:
        """Find the instances that run without a socket that they would be passed if they were started now."""
        sockets = [self._units.opened(item.name) for item in self._sockets]
        before, known = self._searched
        if instances is before and sockets == known:
            return
        _, changed = differing(before if sockets == known else (), instances)
        if len(changed) == len(instances):
            self._suspicious = {}
        for item in changed:
            self._suspicious.pop(item.number, None)
            if names := [socket.name for socket in self._sockets if self._units.has_lost(item, socket.name)]:
                self._suspicious[item.number] = item, names
        lost, held = set(), {}
        for item, names in self._suspicious.values():
            key = item.number, item.invocation_id
            held[key] = self._held.get(key) or await self._passed(item.number)
            if held[key].intersection(names):
                lost.add(item.number)
        self._searched, self._held, self._lost = (instances, sockets), held, frozenset(lost)

    async def _passed(self, number: int) -> frozenset[str]:
        unit = unit_name.instance(self._app, number)
        return frozenset((await self._systemd.read(unit, UNIT, ["TriggeredBy"]))["TriggeredBy"])

    def _mend(self, snapshot: Snapshot) -> None:
        """Restart an instance that does not have the socket which is open now; one at a time, and not in a rollout."""
        if not self._up or self._closed() or self._mending is not None:
            return
        if snapshot.rollout is not None and not snapshot.rollout.suspended:
            return
        resting = State.READY, State.INACTIVE, State.STANDBY
        if self._lost and all(item.state in resting for item in snapshot.instances):
            number = min(self._lost)
            log.warning("%s: instance %d does not have the socket that is open now; restarting it", self._app, number)
            self._mending = asyncio.ensure_future(self._restart(number, snapshot.settings))

    async def _restart(self, number: int, settings: App) -> None:
        unit = unit_name.instance(self._app, number)
        try:
            limit = settings.stop.timeout + settings.gate.timeout + RETRY
            await asyncio.wait_for(await self._systemd.restart(unit), limit)
        except (DeploydError, TimeoutError) as error:
            log.warning("%s: instance %d could not be restarted: %s", self._app, number, error)
            await asyncio.sleep(RETRY)
        finally:
            self._mending = None
            self._changed()

    def _reason(self, socket: Socket, address: str) -> str:
        if self._units.is_open(socket.name):
            return "" if is_on_interface(address) else "no interface of this machine has the address"
        if not self._up:
            return STOPPED
        return self._refusal or f"{socket.name} was closed and is about to be opened again"
