"""The UNIX sockets of a steered app's generations, and the addresses that lead to one of them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from deployd.errors import SteeringError, SystemdError
from deployd.model import unit_name
from deployd.model.address import set_aside
from deployd.model.app import App
from deployd.model.instance import Instance, State
from deployd.routing import unix_links
from deployd.routing.passed_sockets import SHARED_UNIX, PassedSockets
from deployd.routing.path_watch import PathWatch
from deployd.routing.socket_units import SocketUnits
from deployd.routing.unix_links import Links, PathTakenError
from deployd.sockdiag import holders, unix_diag
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UnitRefused
from deployd.units.text import socket_paths
from deployd.units.unix_addresses import UnixAddresses, is_socket

log = logging.getLogger(__name__)


class UnixSockets:
    """`NAME:unix@G.socket` of one app. All instances of a generation accept from its socket; new connections go to one
    generation, which :meth:`lead` says. While routing changes, SHARED_UNIX is one of these sockets."""

    def __init__(
        self, app: str, systemd: Systemd, passed: PassedSockets, cgroups: Path, changed: Callable[[], None]
    ) -> None:
        self._app = app
        self._systemd = systemd
        self._passed = passed
        self._cgroups = cgroups
        self._units = SocketUnits(app, systemd)
        self._at = UnixAddresses(app, systemd)
        self._links = _links(app)
        self._watch = PathWatch(changed)
        self._addresses: tuple[str, ...] = ()
        self._keep = False
        self._steers = False
        """The goal has sockets of generations."""
        self._open: dict[int, object] = {}
        """Each open socket and its invocation."""
        self._updated_for: object = None
        self._taken = ""
        self._orphans_read = False
        self.lost: frozenset[int] = frozenset()
        """Instances that accept from a socket that was closed while they ran."""

    def __bool__(self) -> bool:
        return bool(self._links.listening)

    def is_open(self, socket: int | None) -> bool:
        return socket in self._open

    def current(self) -> int | None:
        """Return the socket to which the app's addresses lead, or None if they lead nowhere."""
        found = (self._links.target(address) for address in self._addresses)
        return next((socket for socket in found if socket is not None), None)

    def serve(self, settings: App, *, keep: bool) -> None:
        """Listen at the addresses of `settings`. Others are given up with their last listener, unless `keep` is set: a
        rollout may yet return to them."""
        self._keep, self._steers = keep, settings.steered
        self._addresses = settings.unix
        if self._addresses:
            # systemd would make all of it with the DirectoryMode= of the first app.
            for directory in (Path(socket_paths.LISTENERS).parent, Path(socket_paths.LISTENERS)):
                directory.mkdir(mode=0o755, exist_ok=True)
                directory.chmod(0o755)

    async def open(self, socket: int) -> None:
        """Open a socket, unless it is open or shared. Raises UnitRefused if it cannot listen or an address is not ours,
        and SystemdError."""
        if socket == SHARED_UNIX:
            return  # it is opened with the units of the goal
        unit = unit_name.generation_socket(self._app, socket)
        opened = await self._units.open(unit, unit_name.generation_socket_starter(self._app, socket))
        self._updated_for = None
        try:
            await self._move_shared_aside()
            self._links.update(self._addresses, {*self._open, socket}, keep=True)
        except SteeringError as error:
            if opened:
                await self._close(socket)
            raise UnitRefused(str(error)) from error

    async def update(self, instances: Sequence[Instance], shared: Mapping[str, object]) -> None:
        """Read which sockets are open, and which instances have lost theirs. `shared`: the open shared sockets.

        Raises SystemdError, SteeringError.
        """
        accepting = self._passed.by_instance()
        known = {*accepting.values(), *self._open, *(await self._orphans())} - {SHARED_UNIX}
        units = {socket: unit_name.generation_socket(self._app, socket) for socket in sorted(known)}
        for unit in units.values():
            await self._systemd.watch(unit)
        self._open = {
            socket: self._units.invocation(unit) for socket, unit in units.items() if self._units.is_open(unit)
        }
        if shared and SHARED_UNIX in accepting.values():
            self._open[SHARED_UNIX] = dict(shared)
        accepts = [item for item in instances if accepting.get(item.number)]
        if self._steers and any(item.state is State.READY and accepting[item.number] in self._open for item in accepts):
            await self._move_shared_aside()  # after a boot, which has opened both
        self.lost = frozenset(
            item.number for item in accepts if self._units.has_lost(item, units[accepting[item.number]])
        )
        self._update_links()
        self._watch.follow(self._links.listening)
        for address in self._links.removed():
            await self._put_back(address)

    def lead(self, order: Iterable[int]) -> None:
        """Have the addresses lead to the first of these sockets that is open."""
        self._links.lead(tuple(order))

    async def close_unused(self, instances: Iterable[Instance]) -> None:
        """Close sockets from which no instance accepts any more, unless new connections still go there."""
        if not self._open:
            return
        there = {item.number for item in instances if item.is_up}
        used = {socket for number, socket in self._passed.by_instance().items() if number in there}
        if used & self._open.keys() or not self._addresses:
            for socket in self._open.keys() - used - {self.current(), SHARED_UNIX}:
                await self.close(socket)

    async def close(self, socket: int) -> None:
        """Close systemd's end of a socket; its path is gone then. Raises SteeringError."""
        self._open.pop(socket, None)
        await self._close(socket)
        self._systemd.unwatch(unit_name.generation_socket(self._app, socket))
        self._update_links()

    def ends_with(self, number: int, others: Iterable[int]) -> int | None:
        """Return the socket of an instance if it has an address that the app is to have no longer and that none of the
        `others` has, and None otherwise."""
        socket = self._passed.unix(number)
        if socket is None or socket == SHARED_UNIX:
            return None
        rest = {self._passed.unix(other) for other in others}
        going = self._links.listening.keys() - set(self._addresses)
        only = any(socket in self._links.listening[a] and not self._links.listening[a] & rest for a in going)
        return socket if only else None

    def connections(self, numbers: Collection[int]) -> dict[int, int]:
        """Return how many connections each of these instances has accepted. Raises SteeringError."""
        paths = {path for number in numbers for path in self._paths_of(number)}
        accepted = unix_diag.accepted(paths) if paths else {}
        found = {}
        for number in numbers:
            mine = set(self._paths_of(number))
            inodes = {inode for inode, path in accepted.items() if path in mine}
            group = self._passed.cgroup(number)
            found[number] = len(inodes & holders.inodes(self._cgroups / group)) if inodes and group else 0
        return found

    def reached(self, numbers: Iterable[int]) -> set[int]:
        """Return those of these instances that new connections may reach: they go to its socket, or wait there. Raises
        SteeringError."""
        current, lengths = self.current(), unix_diag.queues() if self else {}
        return {
            number
            for number in numbers
            if (socket := self._passed.unix(number)) is not None
            if socket == current or any(lengths.get(path) for path in self._links.paths(socket))
        }

    def _paths_of(self, number: int) -> list[str]:
        socket = self._passed.unix(number)
        return [] if socket is None else self._links.paths(socket)

    def stop(self) -> None:
        """Stop watching. The addresses stay with the socket to which they lead."""
        self._watch.close()
        for socket in self._open.keys() - {SHARED_UNIX}:
            self._systemd.unwatch(unit_name.generation_socket(self._app, socket))

    def _update_links(self) -> None:
        state = (self._addresses, self._keep, dict(self._open))
        if state == self._updated_for:
            return
        try:
            self._links.update(self._addresses, self._open, keep=self._keep)
            self._taken = ""
        except PathTakenError as error:
            if str(error) != self._taken:
                log.warning("%s: %s", self._app, error)
            self._taken = str(error)
        self._updated_for = state

    async def _move_shared_aside(self) -> None:
        """Make the addresses of open shared sockets symlinks that lead to these. Raises SteeringError, SystemdError."""
        found = list(filter(is_socket, self._addresses)) if SHARED_UNIX in self._open else []
        there = unix_diag.queues() if found else {}
        mine = [address for address in found if not there.keys().isdisjoint((address, set_aside(address)))]
        for address in mine:
            unix_links.point(socket_paths.link(self._app, address), set_aside(address))
        if mine:
            await self._at.lead_over_links(mine)
            self._updated_for = None

    async def _put_back(self, address: str) -> None:
        log.warning("%s: %s was removed; putting it back (a program may unlink it when it ends)", self._app, address)
        try:
            await self._at.put_back(address)
        except SystemdError as error:
            log.warning("%s: %s", self._app, error)

    async def _close(self, socket: int) -> None:
        unit = unit_name.generation_socket(self._app, socket)
        await self._units.close(unit, unit_name.generation_socket_starter(self._app, socket))

    async def _orphans(self) -> set[int]:
        """Return the sockets that an earlier daemon left open; they are read once."""
        if self._orphans_read:
            return set()
        names = await self._systemd.list_units(unit_name.generation_socket(self._app, "*"))
        self._orphans_read = True
        numbers = (unit_name.generation_socket_number(self._app, name) for name in names)
        return {number for number in numbers if number is not None}


def forget(app: str) -> None:
    """Remove the addresses of an app that is removed; its sockets are closed."""
    try:
        unix_links.forget(_directory(app))
    except SteeringError as error:
        log.warning("%s: %s", app, error)


def _links(app: str) -> Links:
    def own(number: int, address: str) -> str:
        shared = number == SHARED_UNIX
        return set_aside(address) if shared else socket_paths.listener(app, number, address)

    return Links(_directory(app), own, functools.partial(socket_paths.link, app))


def _directory(app: str) -> Path:
    return Path(socket_paths.LISTENERS) / app
