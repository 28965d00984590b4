"""Steering of one app: its maps in the kernel, and a group for each of its addresses.

- The maps outlive the daemon if its file descriptors are kept by systemd (`fds`, and back by the constructor). Such a
  descriptor always polls as broken, and systemd drops it at once unless it is stored with FDPOLL=0 (sd_notify(3)).
- A listener is in one array of sockets at most. If the maps are lost, a listener can be put into a new array only after
  the kernel has freed the old one, some ten milliseconds after the new program is attached: `sync` returns which
  instances have to wait.
- Nothing here is ever detached: a program goes with the last listener of its address.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress

from deployd.errors import steering_errors
from deployd.reuseport import maps, program
from deployd.reuseport.group import Address, Group
from deployd.reuseport.maps import Map, Shape
from deployd.reuseport.table import Table
from deployd.sockdiag.inet_diag import Listener

_SHARED: dict[str, Shape] = {
    "switch": maps.SWITCH,
    "tables": maps.TABLES,
    "cursors": maps.CURSORS,
    "counts": maps.COUNTS,
}


def app_of(name: str) -> str:
    """Return the app of a descriptor in systemd's store by its name, "APP.tables-NUMBER"."""
    return name.rpartition(".")[0]


class Steering:
    """Steers one app. Not thread-safe."""

    def __init__(self, app: str, fds: Mapping[str, int] | None = None, pid: int = 1) -> None:
        """`fds`: the descriptors that an earlier daemon stored for this app, by name; owned from now on. `pid`: the
        process that has the listeners open.

        Without descriptors, or if another version wrote them, the table is empty at first. Raises SteeringError.
        """
        self._app = app
        self._pid = pid
        self._groups: dict[Address, Group] = {}
        self._maps: dict[str, Map] = {}
        given = _newest({name.removeprefix(f"{app}."): fd for name, fd in (fds or {}).items()})
        self._arrays = _adopted_arrays(given)
        try:
            with steering_errors("create BPF maps, which needs CAP_BPF"):
                self._maps = _adopted_maps(given) or {name: Map.create(shape) for name, shape in _SHARED.items()}
                self._active = self._maps["switch"][0][0] & 1
                self._table = maps.unpacked(self._maps["tables"][self._active])
        except BaseException:
            self.close()
            raise

    @property
    def fds(self) -> dict[str, int]:
        """Return the descriptors to be stored for the next daemon, by name.

        They change with `sync`. A name ends in the number of the map in the kernel, so that it never names another one.
        Other stored descriptors of the app must be removed: they keep listeners in an array that is not used.
        """
        arrays = {address.label: group.sockets for address, group in self._groups.items()}
        early = {address.label: sockets for address, sockets in self._arrays.items()}
        kept = {**self._maps, **early, **arrays}
        return {f"{self._app}.{label}-{one.number}": one.fd for label, one in kept.items()}

    @property
    def table(self) -> Table:
        """Return the table in force."""
        return self._table

    def set(self, table: Table) -> None:
        """Steer by this table from now on. Each connection is steered by the old or the new table, never by parts of
        both. Raises SteeringError."""
        if table == self._table:
            return
        with steering_errors("write the steering table"):
            # The other table is not being read: the last change is older than the microsecond that a decision takes.
            other = 1 - self._active
            self._maps["tables"][other] = maps.packed(table)
            self._maps["switch"][0] = struct.pack("=I", other)
        self._active, self._table = other, table

    def sync(self, listeners: Mapping[int, Sequence[Listener]]) -> frozenset[int]:
        """Steer among these listeners, by instance, and no others. Call it whenever one was opened or closed.

        Set the table first: without one the kernel selects by hash. Returns the instances with a listener that could
        not be put in the array yet, because it is in the maps of an earlier daemon or closed; call again soon. Raises
        SteeringError."""
        wanted: dict[Address, dict[int, Listener]] = {}
        for number, several in listeners.items():
            for one in several:
                wanted.setdefault(Address.of(one), {})[number] = one
        for address in self._groups.keys() - wanted.keys():
            self._groups.pop(address).close()
        waiting: set[int] = set()
        for address, by_instance in wanted.items():
            if address not in self._groups:
                self._groups[address] = self._group(address)
            waiting |= self._groups[address].sync(by_instance, self._pid)
        for address in self._arrays.keys() - wanted.keys():
            self._arrays.pop(address).close()
        return frozenset(waiting)

    def counters(self) -> dict[int, int]:
        """Return the number of connections that each instance got since the maps were created, if any. A connection
        that migrated from a closed listener counts for both. Raises SteeringError."""
        with steering_errors("read the steering counters"):
            counts = struct.unpack(f"={maps.COUNTS.value_size // 8}Q", self._maps["counts"][0])
        return {instance: count for instance, count in enumerate(counts) if count}

    def close(self) -> None:
        """Close the maps. The kernel continues to steer by the last table, whether or not the maps are stored."""
        for group in self._groups.values():
            group.close()
        for one in (*self._maps.values(), *self._arrays.values()):
            one.close()
        self._groups, self._maps, self._arrays = {}, {}, {}

    def _group(self, address: Address) -> Group:
        early = self._arrays.get(address)
        with steering_errors("create BPF maps, which needs CAP_BPF"):
            sockets = early or Map.create(maps.SOCKETS)
        try:
            group = Group(program.Maps(sockets=sockets, **self._maps), known=early is not None)
        except BaseException:
            if early is None:
                sockets.close()
            raise
        self._arrays.pop(address, None)
        return group


def _newest(given: Mapping[str, int]) -> dict[str, int]:
    """Return the newest descriptor of each label. A daemon that died between storing one and removing another left
    two."""
    found: dict[str, int] = {}
    for name in sorted(given, key=_number):
        label = name.rpartition("-")[0]
        if label in found:
            os.close(found[label])
        found[label] = given[name]
    return found


def _number(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _adopted_arrays(given: dict[str, int]) -> dict[Address, Map]:
    found: dict[Address, Map] = {}
    for name in [name for name in given if name not in _SHARED]:
        address, fd = Address.parse(name), given.pop(name)
        if address is None:
            os.close(fd)
        elif sockets := Map.adopt(fd, maps.SOCKETS):
            found[address] = sockets
    return found


def _adopted_maps(given: Mapping[str, int]) -> dict[str, Map]:
    """Return all maps, or none if one is missing: they are of no use without each other."""
    found = {name: Map.adopt(fd, _SHARED[name]) for name, fd in given.items()}
    kept = {name: one for name, one in found.items() if one}
    if kept.keys() == _SHARED.keys():
        return kept
    for one in kept.values():
        with suppress(OSError):
            one.close()
    return {}
