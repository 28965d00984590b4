"""The TCP listeners of a steered app: socket units of its instances, and their places in the kernel's maps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from pathlib import Path

from deployd.errors import SteeringError
from deployd.model import unit_name
from deployd.model.instance import Instance
from deployd.model.steering import Load
from deployd.plan.idle_connections import Ending
from deployd.reuseport.group import Address
from deployd.reuseport.listeners import by_instance
from deployd.reuseport.probes import Aimed, Make, new
from deployd.reuseport.steering import Steering
from deployd.reuseport.table import INSTANCES, Table
from deployd.routing import idle_connections
from deployd.routing.kernel import Kernel
from deployd.routing.passed_sockets import PassedSockets
from deployd.routing.recounts import Recounts
from deployd.routing.socket_changes import SocketChanges
from deployd.routing.socket_units import SocketUnits
from deployd.sockdiag.inet_diag import Connection, Listener
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE, SOCKET

log = logging.getLogger(__name__)

SHARED = INSTANCES - 1
"""The number under which the listeners of shared sockets are in the kernel's maps, alongside those of instances."""
KEPT = 1.0
"""Seconds for which the socket of an instance that is about to be started again is kept open."""


class Listeners:
    """`NAME@N.socket` for all N. Those that are known are in the kernel's maps."""

    def __init__(self, app: str, systemd: Systemd, kernel: Kernel, passed: PassedSockets, cgroups: Path) -> None:
        self._app = app
        self._systemd = systemd
        self._kernel = kernel
        self._passed = passed
        self._cgroups = cgroups
        self._diag = kernel.diag
        self._steering = kernel.steering(app)
        self._units = SocketUnits(app, systemd)
        self._known: dict[int, tuple[object, tuple[Listener, ...]]] = {}
        """Number to the invocation of its socket unit, and the listeners that this one opened."""
        self._base: dict[int, int] = {}
        """The counter of each instance when its socket was opened, or when the daemon started."""
        self._orphans_read = False
        self._orphans: frozenset[int] = frozenset()
        self._synced = False
        self._in_turn = ""
        self.recounts = Recounts(app, self._recount)
        self._joined: set[int] = set()
        """The cookies of shared listeners with which others listened at the same address: only then they are a group,
        with a program and a place in an array."""
        self.lost: frozenset[int] = frozenset()
        """Instances that accept from a socket that was closed while they ran."""
        self._changes = SocketChanges(systemd, self._unit)
        self._kept: dict[int, float] = {}
        """Instances that are down, and until when their sockets are kept open (CLOCK_MONOTONIC seconds)."""

    def known(self, number: int) -> bool:
        return number in self._known

    def numbers(self) -> set[int]:
        return set(self._known)

    @property
    def synced(self) -> bool:
        """True if the kernel steers among the instances that are known, and no others."""
        return self._synced and not self.reason

    @property
    def reason(self) -> str:
        """Why deployd cannot steer the app, or "" if it can."""
        return "" if isinstance(self._steering, Steering) else self._steering.reason

    def share(self, sockets: object, found: Collection[Listener]) -> None:
        """Have these listeners of shared `sockets` take part, or none. Raises SteeringError."""
        self.drop(SHARED)
        if found:
            self._known[SHARED] = sockets, tuple(found)
            self._base[SHARED] = self._steering.counter(SHARED)
            self._synced = False

    async def join(self, number: int, addresses: Collection[str]) -> None:
        """Have an instance listen at the addresses of shared sockets.

        Until the program is attached, which takes two listeners, the kernel distributes by hash. What came to the new
        one migrates to the others: the instance is not running yet. Raises SystemdError and SteeringError.
        """
        shared = self._known.get(SHARED, (None, ()))[1]
        if self._joined.issuperset(item.cookie for item in shared):
            return
        await self._add({number: self._units.invocation(self._unit(number))})
        self.sync()
        if self.queues().get(number):
            await self.close(number)
            await self.open(number, addresses)

    async def open(self, number: int, addresses: Collection[str]) -> None:
        """Open the socket unit, unless it is open. Raises SystemdError, and UnitRefused if it cannot listen there."""
        unit = self._unit(number)
        if self._kept.pop(number, None) is not None and not self._units.is_as_opened(unit):
            await self.end(number)
        if number not in self._known or not self._units.is_open(unit):
            await self._units.open(unit, self._starter(number), addresses)

    def keep(self, number: int) -> bool:
        """Keep the socket of an instance that is about to be started again open for KEPT seconds. Return False if it
        must be closed: other instances can take what waits there, or its unit may have changed."""
        with contextlib.suppress(SteeringError):
            if self._units.is_as_opened(self._unit(number)) and not self.queues().get(number):
                self._kept[number] = time.monotonic() + KEPT
                return True
        return False

    async def close(self, number: int) -> None:
        """Close the socket unit. Connections that wait there go to the other instances (migration)."""
        self._kept.pop(number, None)
        await self.end(number)
        self._systemd.unwatch(self._unit(number))
        self.sync()

    async def end(self, number: int) -> None:
        """Close systemd's end. A process that has the socket accepts what comes to addresses of which no other instance
        listens; what waits for a dead one goes to the others. Starting the instance opens the socket again (Sockets=).
        """
        with contextlib.suppress(SteeringError):
            await self._units.unpolled(self._unit(number), lambda: bool(self.queues().get(number)))
        self.drop(number)
        await self._units.close(self._unit(number), self._starter(number))

    def drop(self, number: int) -> None:
        """Forget a socket that is closed, or about to be."""
        self._changes.add([number])
        self._forget(number)
        self.lost -= {number}

    def _forget(self, number: int) -> None:
        self._synced = self._synced and number not in self._known
        self._known.pop(number, None)

    def alone(self, number: int, others: Iterable[int]) -> bool:
        """True if the instance has an address at which none of the `others` listens, so that none takes over what waits
        there."""
        mine = self._addresses_of(number)
        for other in others:
            if not mine:
                return False
            mine -= self._addresses_of(other)
        return bool(mine)

    def _addresses_of(self, number: int) -> set[Address]:
        return {Address.of(item) for item in self._known.get(number, (None, ()))[1]}

    async def update(self, instances: Sequence[Instance], others: Set[int]) -> None:
        """Read which sockets are open, and which instances have lost theirs, as far as something has changed: of these
        instances, of their sockets, or of what `others` are passed. Raises SystemdError, SteeringError."""
        await self._find_orphans()
        self._changes.add(others)
        due = self._changes.due(instances)
        # Only a pin made by hand has a number without a place in the kernel's maps.
        numbers = sorted(number for number in due if 0 < number < SHARED and self._may_be_open(number))
        self._changes.forget(due - {*numbers})
        # At once: while many instances boot, systemd takes its time for each call.
        await asyncio.gather(*(self._systemd.watch(self._unit(number)) for number in numbers))
        news: dict[int, object] = {}
        lost = self.lost - due
        for number in numbers:
            unit, item = self._unit(number), self._changes.up.get(number)
            self._changes.looked_at(number)
            if item is not None and self._passed.tcp(number) and self._units.has_lost(item, unit):
                lost |= {number}
            elif not self._units.is_open(unit):
                self._forget(number)
            elif self._known.get(number, (None,))[0] != (invocation := self._units.invocation(unit)):
                news[number] = invocation
        self.lost = lost
        if news:
            try:
                await self._add(news)
            except BaseException:
                self._changes.add(news)
                raise

    def _may_be_open(self, number: int) -> bool:
        passed = number in self._changes.up and self._passed.tcp(number)
        return passed or number in self._known or number in self._orphans

    async def _add(self, news: Mapping[int, object]) -> None:
        """Find the listeners of sockets that were opened, by number and invocation."""
        reads = (self._systemd.read(self._unit(number), SOCKET, ["ControlGroup"]) for number in news)
        groups = [str(properties["ControlGroup"]) for properties in await asyncio.gather(*reads)]
        places = {number: self._cgroups / group.lstrip("/") for number, group in zip(news, groups, strict=True)}
        found = by_instance(self._diag, places)
        for number, listeners in found.items():
            self._known[number] = news[number], tuple(listeners)
            self._base[number] = self._steering.counter(number)
        self._synced = False

    def sync(self) -> bool:
        """Have the kernel steer among those that are known; False if some of them have to wait a little. Raises
        SteeringError."""
        if not self._synced:
            self._synced = not self._steering.sync(self._members())
            self._kernel.keep(self._app, self._steering.fds)
            if self.in_turn and self.in_turn != self._in_turn:
                log.warning("%s: instances get new connections in turn: %s", self._app, self.in_turn)
            self._in_turn = self.in_turn
        return self._synced

    @property
    def in_turn(self) -> str:
        """Why instances get new connections in turn, or "" if the least busy one gets the next connection."""
        return self._steering.in_turn

    def _recount(self) -> int:
        """Correct the kernel's counts, and return how many connections had ended unseen. Raises SteeringError."""
        ports = {item.port for _, found in self._known.values() for item in found}
        return self._steering.recount(lambda: self._diag.cookies(ports))

    def loads(self) -> dict[int, Load]:
        """Number to what the kernel counts of the instance. Raises SteeringError."""
        found = self._steering.loads()
        return {number: found.get(number, Load()) for number in self._known}

    def _members(self) -> dict[int, tuple[Listener, ...]]:
        """Return the listeners that the kernel can steer among."""
        members = {number: found for number, (_, found) in self._known.items()}
        if shared := members.pop(SHARED, ()):
            others = {Address.of(item) for found in members.values() for item in found}
            self._joined |= {item.cookie for item in shared if Address.of(item) in others}
            members[SHARED] = tuple(item for item in shared if item.cookie in self._joined)
        return members

    def distribute(self, table: Table) -> None:
        """Distribute new connections by this table from now on. Raises SteeringError."""
        if table != self._steering.table:
            self._steering.set(table)
            if self._steering.outdated and self._synced:
                self._synced = False
                self.sync()

    def queues(self) -> dict[int, int]:
        """Number to connections that wait to be accepted. Raises SteeringError."""
        listeners = [(number, item) for number, (_, found) in self._known.items() for item in found]
        families: dict[int, set[int]] = {}
        for _, item in listeners:
            families.setdefault(item.port, set()).add(item.family)
        waiting: dict[int, int] = {}
        for port, those in families.items():
            waiting |= self._diag.queues(port, those)
        lengths: dict[int, int] = {}
        for number, item in listeners:
            if item.inode in waiting:
                lengths[number] = lengths.get(number, 0) + waiting[item.inode]
        return lengths

    def half_open(self) -> frozenset[Connection]:
        """Handshakes that are under way at the app's addresses. Raises SteeringError."""
        return self._diag.half_open({item.port for _, found in self._known.values() for item in found})

    def connections(self, numbers: Collection[int]) -> dict[int, int]:
        """Number to open connections, accepted or waiting: they are in the cgroup of their listener. Raises
        SteeringError."""
        cgroups = self._cgroups_of(numbers)
        found = self._diag.connections(set(cgroups))
        totals = dict.fromkeys(cgroups.values(), 0)
        for cgroup, count in found.items():
            totals[cgroups[cgroup]] += count
        return totals

    async def close_idle(self, number: int) -> Ending:
        """Close the connections of an instance if none of them is in use. Raises SteeringError, SystemdError."""
        properties = await self._systemd.read(unit_name.instance(self._app, number), SERVICE, ["ControlGroup"])
        group = str(properties["ControlGroup"]).lstrip("/")
        listeners = {item.cgroup for item in self._known.get(number, ((), ()))[1]}
        return idle_connections.close(self._diag, listeners, self._cgroups / group) if group else Ending.CLOSE

    async def unaccepted(self, number: int) -> int | None:
        """Return how many connections wait at listeners that the instance has opened itself, None if it has none.
        Raises SteeringError, SystemdError."""
        properties = await self._systemd.read(unit_name.instance(self._app, number), SERVICE, ["ControlGroup"])
        group = str(properties["ControlGroup"]).lstrip("/")
        with contextlib.suppress(FileNotFoundError):
            return self._diag.unaccepted((self._cgroups / group).stat().st_ino) if group else None
        return None

    def unread(self, numbers: Collection[int]) -> dict[int, list[float]]:
        """Number to the connections on which data waits to be read: how long ago the last of it arrived, in seconds.
        Raises SteeringError."""
        cgroups = self._cgroups_of(numbers)
        found: dict[int, list[float]] = {number: [] for number in cgroups.values()}
        for cgroup, ages in self._diag.unread(set(cgroups)).items():
            found[cgroups[cgroup]] += ages
        return found

    def counters(self) -> dict[int, int]:
        """Number to the connections that it got since its socket was opened. Raises SteeringError."""
        found = self._steering.counters()
        return {number: found.get(number, 0) - self._base.get(number, 0) for number in self._known}

    def aim(self, number: int, timeout: float, make: Make = new) -> AbstractContextManager[Aimed] | None:
        """Return a socket whose connection will reach the instance; None if the loopback device does not."""
        listeners = self._known.get(number, ((), ()))[1]
        return self._steering.aim(number, timeout, make) if any(Address.of(item).near for item in listeners) else None

    async def close_unused(self) -> float:
        """Close the sockets of instances that are gone, and return in how many seconds to do so again, 0 for never."""
        now = time.monotonic()
        kept = {number: end - now for number, end in self._kept.items() if end > now}
        for number in self._known.keys() - {SHARED} - self._changes.up.keys() - kept.keys():
            await self.close(number)
        return min(kept.values(), default=0.0)

    def stop(self) -> None:
        """Stop watching. The kernel continues to steer, and its maps are kept for the next daemon."""
        for number in self._known:
            self._systemd.unwatch(self._unit(number))
        self._steering.close()

    def _cgroups_of(self, numbers: Collection[int]) -> dict[int, int]:
        """Return the cgroups in which the listeners of these instances were created, and their instances."""
        return {item.cgroup: number for number in numbers for item in self._known.get(number, ((), ()))[1]}

    def _unit(self, number: int) -> str:
        return unit_name.instance_socket(self._app, number)

    def _starter(self, number: int) -> str:
        return unit_name.instance_socket_starter(self._app, number)

    async def _find_orphans(self) -> None:
        """Find the sockets that an earlier daemon left open, once."""
        if not self._orphans_read:
            names = await self._systemd.list_units(unit_name.instance_socket(self._app, "*"))
            numbers = (unit_name.instance_socket_number(self._app, name) for name in names)
            self._orphans = frozenset(number for number in numbers if number is not None)
            self._changes.add(self._orphans)
            self._orphans_read = True
