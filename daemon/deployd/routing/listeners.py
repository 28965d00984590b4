"""The listeners of a steered app: socket units of its instances, and their places in the kernel's maps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from deployd.errors import SteeringError, SystemdError
from deployd.model import unit_name
from deployd.model.instance import Instance, State
from deployd.reuseport.group import Address
from deployd.reuseport.listeners import by_instance, cgroup_root
from deployd.reuseport.steering import Steering
from deployd.reuseport.table import SLOTS, Table
from deployd.routing.kernel import Kernel
from deployd.routing.unix_addresses import Addresses
from deployd.sockdiag.inet_diag import Connection, Listener
from deployd.systemd.manager import Systemd
from deployd.systemd.observe import STATES
from deployd.systemd.proxy import UnitRefused

log = logging.getLogger(__name__)

SOCKET = "org.freedesktop.systemd1.Socket"
TIMEOUT = 30.0
"""Seconds that a socket unit may take to open or close."""


class Listeners:
    """`NAME@N.socket` for all N. Those that are known have their slot in the kernel's maps."""

    def __init__(self, app: str, systemd: Systemd, kernel: Kernel) -> None:
        self._app = app
        self._systemd = systemd
        self._kernel = kernel
        self._diag = kernel.diag
        self._steering = kernel.steering(app)
        self.paths = Addresses(app)
        self._cgroups = cgroup_root() or Path("/sys/fs/cgroup")
        self._known: dict[int, tuple[object, tuple[Listener, ...]]] = {}
        """Number to the invocation of its socket unit, and the listeners that this one opened."""
        self._before: dict[int, int] = {}
        """What an instance's counter said when its socket was opened, or we began."""
        self._looked = False
        self._synced = False
        self.lost: set[int] = set()
        """Instances whose socket unit was stopped or started under them: they accept from a listener that is gone."""

    def unit(self, number: int) -> str:
        return unit_name.instance_socket(self._app, number)

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

    async def open(self, number: int) -> None:
        """Open the socket unit, unless it is. Raises UnitRefused if it cannot listen, SystemdError, SteeringError."""
        unit = self.unit(number)
        if number in self._known and self._active(number):
            return
        await self._systemd.watch(unit)
        await self._systemd.refresh(unit)
        if self._active(number):
            return
        # An active starter would keep the socket from opening.
        await self._stop(unit_name.instance_socket_starter(self._app, number))
        result = await self._end(await self._systemd.start(unit))
        await self._systemd.refresh(unit)
        if not self._active(number):
            raise UnitRefused(f"{unit} could not listen (its start job ended with {result}); see journalctl -u {unit}")
        try:
            self.paths.opened(number, self._known)
        except SteeringError as error:
            await self._stop(unit)
            raise UnitRefused(str(error)) from error

    async def close(self, number: int) -> None:
        """Close the socket unit: what is still queued there goes to the others (migration)."""
        self.lost.discard(number)
        self._drop(number)
        await self._stop(self.unit(number))
        await self._stop(unit_name.instance_socket_starter(self._app, number))
        self._systemd.unwatch(self.unit(number))
        self.paths.find(self._runs())
        self.sync()

    def alone(self, number: int, others: Iterable[int]) -> bool:
        """Has it an address at which none of these listens? Then nobody takes over what waits there."""
        mine, *theirs = ({Address.of(item) for item in self._known.get(n, (None, ()))[1]} for n in (number, *others))
        return bool(mine.difference(*theirs))

    async def pass_on(self, number: int) -> None:
        """Close the socket unit of an instance that is down, so that what is queued there goes to the others. Whoever
        starts the instance opens it again: its unit wants it (Sockets=)."""
        log.info("%s: nobody serves what waits for instance %d; it goes to the others", self._app, number)
        await self.end(number)

    async def end(self, number: int) -> None:
        """Close systemd's end. As long as its process is there, that accepts what comes where nobody else listens."""
        self._drop(number)
        await self._stop(self.unit(number))
        await self._stop(unit_name.instance_socket_starter(self._app, number))

    async def find(self, instances: Iterable[Instance]) -> None:
        """Take note of sockets that were opened or closed, by whomever."""
        up = {item.number: item for item in instances if item.state is not State.INACTIVE or item.generation}
        # Whoever has no slot in the kernel's maps is not steered: nobody but a pin made by hand has such a number.
        numbers = {number for number in (*up, *self._known, *(await self._orphans())) if 0 < number < SLOTS}
        news: dict[int, object] = {}
        gone = set()
        for number in sorted(numbers):
            properties = await self._systemd.watch(self.unit(number))
            item, active = up.get(number), properties.get("ActiveState") == "active"
            opened = int(properties.get("ActiveEnterTimestampMonotonic", 0))
            if item is not None and item.state is State.READY and (not active or opened > self._begun(number)):
                # It accepts from the listener that it was started with, for as long as it lives.
                self.lost.add(number)
                continue
            self.lost.discard(number)
            if not active:
                gone.add(number)
            elif self._known.get(number, (None,))[0] != properties.get("InvocationID"):
                news[number] = properties.get("InvocationID")
        for number in gone & self._known.keys():
            self._drop(number)
        if news:
            await self._meet(news)
        self.paths.find(self._runs())

    async def _meet(self, news: Mapping[int, object]) -> None:
        """Take note of sockets that are open, by number and invocation."""
        places = {}
        for number in news:
            properties = await self._systemd.read(self.unit(number), SOCKET, ["ControlGroup"])
            places[number] = self._cgroups / str(properties["ControlGroup"]).lstrip("/")
        found = by_instance(self._diag, places)
        counts = self._steering.counters()
        for number, listeners in found.items():
            self._known[number] = news[number], tuple(listeners)
            self._before[number] = counts.get(number, 0)
        self._synced = False

    def sync(self) -> bool:
        """Have the kernel steer among those that are known; False if some of them have to wait a little. Raises
        SteeringError."""
        if not self._synced:
            self._synced = not self._steering.sync({number: found for number, (_, found) in self._known.items()})
            self._kernel.keep(self._app, self._steering.fds)
        return self._synced

    def deal(self, table: Table) -> None:
        """Raises SteeringError."""
        self.paths.set(table)
        if table != self._steering.table:
            self._steering.set(table)

    def queues(self) -> dict[int, int]:
        """Number to connections that wait to be accepted."""
        lengths = self.paths.queues()
        listeners = [(number, item) for number, (_, found) in self._known.items() for item in found]
        families: dict[int, set[int]] = {}
        for _, item in listeners:
            families.setdefault(item.port, set()).add(item.family)
        waiting: dict[int, int] = {}
        for port, those in families.items():
            waiting |= self._diag.queues(port, those)
        for number, item in listeners:
            if item.inode in waiting:
                lengths[number] = lengths.get(number, 0) + waiting[item.inode]
        return lengths

    def half_open(self) -> frozenset[Connection]:
        """Handshakes that are under way at the app's addresses."""
        return self._diag.half_open(self._ports())

    def connections(self, numbers: Collection[int]) -> dict[int, int]:
        """Number to open connections, accepted or waiting: they are in the cgroup of their listener."""
        cgroups = {item.cgroup: number for number in numbers for item in self._known.get(number, ((), ()))[1]}
        found = self._diag.connections(set(cgroups))
        totals = dict.fromkeys(cgroups.values(), 0) | self.paths.connections(numbers)
        for cgroup, count in found.items():
            totals[cgroups[cgroup]] += count
        return totals

    def counters(self) -> dict[int, int]:
        """Number to the connections that it got since its socket was opened."""
        found = self._steering.counters()
        return {number: found.get(number, 0) - self._before.get(number, 0) for number in self._known}

    async def remake(self, number: int) -> None:
        """Open the socket of an instance anew that has lost it, and restart the instance, which gets it then."""
        log.warning("%s: the socket of instance %d was stopped under it; restarting both", self._app, number)
        self._drop(number)
        if job := await self._systemd.job(self.unit(number)):
            await self._end(job)  # opening the socket now would cancel it, and whoever stops it would get an error
        await self.open(number)
        await self._end(await self._systemd.restart(self._service(number)))

    async def sweep(self, instances: Iterable[Instance]) -> None:
        """Close the sockets of instances that are gone."""
        there = {item.number for item in instances if item.state is not State.INACTIVE or item.generation}
        for number in self._known.keys() - there:
            await self.close(number)

    def stop(self) -> None:
        """Leave it to the kernel, with the maps kept for whoever comes after us."""
        for number in self._known:
            self._systemd.unwatch(self.unit(number))
        self.paths.stop()
        self._steering.close()

    def accepts(self, number: int) -> bool:
        """Does anybody take connections from its queue, as systemd knows it?"""
        state = str(self._systemd.properties(self._service(number)).get("ActiveState"))
        return STATES.get(state) is State.READY

    def _begun(self, number: int) -> int:
        """When the process began that runs now, as systemd's ...TimestampMonotonic; it was passed the socket then. The
        unit itself may be older: it is up since the last one died."""
        return int(self._systemd.properties(self._service(number)).get("ExecMainStartTimestampMonotonic", 0))

    def _service(self, number: int) -> str:
        return unit_name.instance(self._app, number)

    def _runs(self) -> dict[int, object]:
        return {number: invocation for number, (invocation, _) in self._known.items()}

    def _ports(self) -> set[int]:
        return {item.port for _, found in self._known.values() for item in found}

    def _active(self, number: int) -> bool:
        return self._systemd.properties(self.unit(number)).get("ActiveState") == "active"

    async def _orphans(self) -> set[int]:
        """Sockets that a daemon before us left open."""
        if self._looked:
            return set()
        self._looked = True
        names = await self._systemd.list_units(unit_name.instance_socket(self._app, "*"))
        numbers = (unit_name.instance_socket_number(self._app, name) for name in names)
        return {number for number in numbers if number is not None}

    def _drop(self, number: int) -> None:
        self._synced = self._synced and number not in self._known
        self._known.pop(number, None)

    async def _stop(self, unit: str) -> None:
        try:
            await self._end(await self._systemd.stop(unit))
            await self._systemd.reset_failed(unit)
        except SystemdError as error:
            log.debug("%s: %s, ignoring", unit, error)  # not loaded: nothing to stop

    async def _end(self, job: asyncio.Future[str]) -> str:
        try:
            return await asyncio.wait_for(job, TIMEOUT)
        except TimeoutError:
            return "timeout"
