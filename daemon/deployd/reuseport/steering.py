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
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from deployd.errors import SteeringError, steering_errors
from deployd.model.steering import Load
from deployd.reuseport import maps
from deployd.reuseport.counting import ENTRY
from deployd.reuseport.group import Address, Group
from deployd.reuseport.maps import Map, Shape
from deployd.reuseport.probes import Aimed, Make, Probes, new
from deployd.reuseport.recount import Entry, Recount, suspects
from deployd.reuseport.slots import Slot
from deployd.reuseport.table import Table
from deployd.sockdiag.inet_diag import Listener

_SHARED: dict[str, Shape] = {
    "switch": maps.SWITCH,
    "tables": maps.TABLES,
    "cursors": maps.CURSORS,
    "slots": maps.SLOTS,
    "connections": maps.CONNECTIONS,
    "probes": maps.PROBES,
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
        self._in_turn = ""
        given = _newest({name.removeprefix(f"{app}."): fd for name, fd in (fds or {}).items()})
        self._arrays = _adopted_arrays(given)
        try:
            with steering_errors("create BPF maps, which needs CAP_BPF"):
                self._maps = _adopted_maps(given)
                for name, shape in _SHARED.items():
                    if name not in self._maps:
                        self._maps[name] = Map.create(shape)
                self._active = self._maps["switch"][0][0] & 1
                self._table = maps.unpacked(self._maps["tables"][self._active])
            self._members = self._table.members
            self._probes = Probes(self._maps["probes"])
            self._probes.forget()
            self._counted = {number for number, slot in self._slots().items() if slot.counted}
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
        both. If `outdated` is true then, call `sync` soon: some members of large groups are left out. Raises
        SteeringError."""
        if table == self._table:
            return
        with steering_errors("write the steering table"):
            # The other table is not being read: the last change is older than the microsecond that a decision takes.
            other = 1 - self._active
            self._maps["tables"][other] = maps.packed(table)
            self._maps["switch"][0] = struct.pack("=I", other)
        self._active, self._table = other, table
        if table.members > self._members:
            self._members = table.members
            self._load()

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
        for address in wanted.keys() - self._groups.keys():
            self._groups[address] = self._group(address)
        known = {cookie for group in self._groups.values() for cookie in group.cookies.values()}
        fresh = frozenset(
            number
            for number, found in listeners.items()
            # All of its listeners are new, or lack the filter that counts.
            if found and (number not in self._counted or known.isdisjoint(one.cookie for one in found))
        )
        self._reset(fresh)
        waiting: set[int] = set()
        for address, by_instance in wanted.items():
            waiting |= self._groups[address].sync(by_instance, self._pid, fresh)
        self._take_turns(wanted)
        for address in self._arrays.keys() - wanted.keys():
            self._arrays.pop(address).close()
        return frozenset(waiting)

    @property
    def outdated(self) -> bool:
        """True if the next `sync` has to attach a program to listeners that have not changed."""
        return not all(group.attached for group in self._groups.values())

    @property
    def in_turn(self) -> str:
        """Why members of a group get connections in turn, or "" if the least busy one gets the next connection."""
        return self._in_turn

    def loads(self) -> dict[int, Load]:
        """Return what the kernel counts of each instance that got connections since the maps were created. Raises
        SteeringError."""
        now = time.monotonic_ns()
        return {instance: slot.load(now) for instance, slot in self._slots().items() if slot.chosen}

    def counters(self) -> dict[int, int]:
        """Return the number of connections that each instance got since the maps were created, if any. A connection
        that migrated from a closed listener counts for both. Raises SteeringError."""
        return {instance: slot.chosen for instance, slot in self._slots().items() if slot.chosen}

    def counter(self, instance: int) -> int:
        """Return what `counters` does for one instance. Raises SteeringError."""
        with steering_errors("read the kernel's counts"):
            return Slot.parse(self._maps["slots"][instance]).chosen

    def recount(self, live: Callable[[], Collection[int]]) -> int:
        """Correct counts that have drifted, and return the number of connections that had ended unseen.

        `live` returns the cookies of all connections of the app. It is called after the entries were read, so that none
        is missing that was made meanwhile. Raises SteeringError."""
        before, entries = self._slots(), self._entries()
        alive = live() if entries else ()
        with steering_errors("correct the kernel's counts"):
            stale = [cookie for cookie in suspects(entries, alive) if self._maps["connections"].discard(cookie)]
            recount = Recount(entries, stale)
            for instance, slot in before.items():
                if recount.agrees(instance, slot):
                    continue
                now = Slot.parse(self._maps["slots"][instance])
                # Not atomic: what the kernel counts in these microseconds is lost until the next time.
                if (corrected := recount.corrected(instance, slot, now)) != now:
                    self._maps["slots"][instance] = corrected.value
        return len(stale)

    @contextmanager
    def aim(self, instance: int, timeout: float, make: Make = new) -> Iterator[Aimed]:
        """Yield a socket whose connection will reach this instance, at one of its addresses and whatever its weight.
        See Probes.aim. Raises SteeringError, also if the instance has no listener."""
        found = sorted((address for address, group in self._groups.items() if instance in group.cookies), key=_distance)
        if not found:
            raise SteeringError(f"instance {instance} has no listener")
        with self._probes.aim(instance, found[0], timeout, make) as aimed:
            yield aimed

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
            listening = Map.create(maps.LISTENING)
            sockets = early or Map.create(maps.SOCKETS)
        try:
            group = Group(
                maps.Maps(sockets=sockets, listening=listening, **self._maps),
                known=early is not None,
                least_busy=not self._in_turn,
                members=self._members,
            )
        except BaseException:
            listening.close()
            if early is None:
                sockets.close()
            raise
        self._arrays.pop(address, None)
        return group

    def _slots(self) -> dict[int, Slot]:
        """Return the slots that are not empty."""
        with steering_errors("read the kernel's counts"):
            found = self._maps["slots"].items()
            return {instance: Slot.parse(value) for instance, value in found if any(value)}

    def _entries(self) -> dict[int, Entry]:
        with steering_errors("read the kernel's counts"):
            found = {cookie: ENTRY.unpack(value) for cookie, value in self._maps["connections"].items()}
        return {cookie: Entry(instance, bool(in_flight)) for cookie, (instance, in_flight, *_) in found.items()}

    def _reset(self, numbers: Collection[int]) -> None:
        """Start to count again for these instances, except for the number of connections that they have got."""
        if not numbers:
            return
        entries = self._entries()
        with steering_errors("write the kernel's counts"):
            for cookie, entry in entries.items():
                if entry.instance in numbers:
                    self._maps["connections"].discard(cookie)
            for number in numbers:
                chosen = Slot.parse(self._maps["slots"][number]).chosen
                self._maps["slots"][number] = Slot(chosen=chosen, counted=1).value
        self._counted |= set(numbers)

    def _take_turns(self, wanted: Mapping[Address, Mapping[int, Listener]]) -> None:
        """If the listener of one instance cannot be counted, regard no loads: it would seem idle at all times."""
        uncounted = {number: why for group in self._groups.values() for number, why in group.uncounted.items()}
        with steering_errors("write the kernel's counts"):
            for number in uncounted:
                slot = Slot.parse(self._maps["slots"][number])
                self._maps["slots"][number] = replace(slot, counted=0).value
        self._counted -= uncounted.keys()
        if not uncounted or self._in_turn:
            return
        number, why = min(uncounted.items())
        self._in_turn = f"the kernel does not count the connections of instance {number}: {why}"
        self._load()
        for address, group in self._groups.items():
            group.sync(wanted[address], self._pid, ())

    def _load(self) -> None:
        for group in self._groups.values():
            group.load(least_busy=not self._in_turn, members=self._members)


def _distance(address: Address) -> tuple[bool, int, str, int]:
    """Return addresses that the loopback device reaches first."""
    return (not address.near, address.family, address.address, address.port)


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
