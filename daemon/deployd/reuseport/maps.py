"""eBPF maps: the memory that the program in the kernel and the daemon share (bpf(2), BPF_MAP_CREATE)."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from pathlib import Path

from deployd.reuseport import slots, syscalls
from deployd.reuseport.slots import NUMBER_BITS
from deployd.reuseport.table import ENTRIES, FALLBACKS, GROUPS, INSTANCES, MEMBERS, Table

POSSIBLE = Path("/sys/devices/system/cpu/possible")

_MAP_CREATE, _MAP_LOOKUP_ELEM, _MAP_UPDATE_ELEM, _MAP_DELETE_ELEM, _OBJ_GET_INFO_BY_FD = 0, 1, 2, 3, 15
_MAP_LOOKUP_BATCH = 24
_BATCH = 4096
_NO_PREALLOC = 1


class Kind(IntEnum):
    """The members of enum bpf_map_type that are used."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    """An array for each CPU, so that CPUs do not wait for each other."""
    REUSEPORT_SOCKARRAY = 20
    """Listening sockets. A socket is in one such array at most, and leaves it when it is closed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The attributes of a map: its name in the kernel (15 bytes at most), kind, bytes of a value, number of values, and
    bytes of a key."""

    name: str
    kind: Kind
    value_size: int
    entries: int
    key_size: int = 4

    @property
    def flags(self) -> int:
        """Memory of a HASH is allocated when it is used."""
        return _NO_PREALLOC if self.kind is Kind.HASH else 0


SWITCH = Shape("deployd_switch", Kind.ARRAY, 4, 1)
"""Which of the two tables is in force. A new table is written to the other one, and then these four bytes select it."""
TABLES = Shape("deployd_tables", Kind.ARRAY, 2 * (ENTRIES + FALLBACKS + GROUPS * MEMBERS), 2)
"""Two bytes each: the group of each entry, the order, and the members of each group. 0 ends the order and a group. A
member is the number of an instance in the lower 10 bits, and its rank in the upper 6."""
CURSORS = Shape("deployd_cursors", Kind.PERCPU_ARRAY, 8, 1)
"""The number of connections that each CPU has steered."""
SLOTS = Shape("deployd_slots", Kind.ARRAY, slots.SIZE, INSTANCES)
"""What is counted of each instance; see slots.py."""
CONNECTIONS = Shape("deployd_conns", Kind.HASH, 16, 1 << 16, key_size=8)
"""The connections that are counted, by cookie; see counting.py. Further ones are not counted. Empty it takes 1 MiB."""
PROBES = Shape("deployd_probes", Kind.HASH, 16, 1024, key_size=8)
"""Connections of the daemon that are to reach a certain instance, by IPV4 or IPV6 and the port of 127.0.0.1 or ::1 from
which they come, as on the wire; see probes.py."""
IPV4, IPV6 = 4 << 16, 6 << 16
LOCALHOST = int.from_bytes(b"\x7f\0\0\x01", sys.byteorder)
LOCALHOST_IPV6 = (0, 0, 0, int.from_bytes(b"\0\0\0\x01", sys.byteorder))
"""The addresses as words in memory."""
LISTENING = Shape("deployd_listens", Kind.ARRAY, 8, INSTANCES)
"""Whether an instance listens at one address: 0 if not, or 2**63 minus the time from which on it does, in nanoseconds
of CLOCK_MONOTONIC. So this plus the present time is at least 2**63 if it listens."""
SOCKETS = Shape("deployd_sockets", Kind.REUSEPORT_SOCKARRAY, 8, INSTANCES)
"""The listeners of one address by instance."""


class Map:
    """A map. Owns its file descriptor."""

    def __init__(self, fd: int, shape: Shape, number: int) -> None:
        self.fd = fd
        self.shape = shape
        self.number = number
        """Its number in the kernel, which no other map gets until the next boot."""

    @classmethod
    def create(cls, shape: Shape) -> Map:
        """Create a map. Raises OSError."""
        request = _Create(
            kind=shape.kind,
            key_size=shape.key_size,
            value_size=shape.value_size,
            entries=shape.entries,
            flags=shape.flags,
            name=shape.name.encode(),
        )
        fd = syscalls.bpf(_MAP_CREATE, request)
        try:
            return cls(fd, shape, _info(fd).number)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def adopt(cls, fd: int, shape: Shape) -> Map | None:
        """Return the map behind `fd`, or None if another version wrote it in another shape; `fd` is closed then."""
        try:
            info = _info(fd)
        except OSError:
            os.close(fd)
            return None
        found = info.kind, info.key_size, info.value_size, info.entries
        if found == (shape.kind, shape.key_size, shape.value_size, shape.entries):
            return cls(fd, shape, info.number)
        os.close(fd)
        return None

    def __getitem__(self, key: int) -> bytes:
        """Return the value, of a PERCPU_ARRAY those of all possible CPUs. Raises OSError, and KeyError if there
        is none.

        In an array of sockets a value is the socket's cookie (ss -e calls it sk).
        """
        value = ctypes.create_string_buffer(self.shape.value_size * self._copies)
        try:
            self._element(_MAP_LOOKUP_ELEM, key, value)
        except FileNotFoundError:
            raise KeyError(key) from None
        return value.raw

    def __setitem__(self, key: int, value: bytes) -> None:
        """Set the value. Raises OSError, with EBUSY if a socket is in another array."""
        if len(value) != self.shape.value_size * self._copies:
            raise ValueError(f"{len(value)} bytes are not a value of {self.shape.name}")
        self._element(_MAP_UPDATE_ELEM, key, ctypes.create_string_buffer(value, len(value)))

    def discard(self, key: int) -> bool:
        """Remove the listener of an instance from an array of sockets, or an entry from a HASH. Return whether there
        was one. Raises OSError."""
        try:
            self._element(_MAP_DELETE_ELEM, key, None)
        except FileNotFoundError:
            return False
        return True

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Yield all keys and values of an ARRAY or a HASH. What is added or removed meanwhile may be left out, or come
        twice. Raises OSError."""
        keys = ctypes.create_string_buffer(self.shape.key_size * _BATCH)
        values = ctypes.create_string_buffer(self.shape.value_size * _BATCH)
        place = ctypes.create_string_buffer(8)
        request = _Batch(0, ctypes.addressof(place), ctypes.addressof(keys), ctypes.addressof(values), 0, self.fd)
        more = True
        while more:
            request.count = _BATCH
            try:
                syscalls.bpf(_MAP_LOOKUP_BATCH, request)
            except FileNotFoundError:  # the last batch
                more = False
            all_keys, all_values = keys.raw, values.raw
            for index in range(request.count):
                key, value = index * self.shape.key_size, index * self.shape.value_size
                yield (
                    int.from_bytes(all_keys[key : key + self.shape.key_size], sys.byteorder),
                    all_values[value : value + self.shape.value_size],
                )
            request.begin = ctypes.addressof(place)

    def get(self, key: int) -> bytes:
        """Return the value, or nothing. Raises OSError."""
        try:
            return self[key]
        except KeyError:
            return b""

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def _copies(self) -> int:
        return possible_cpus() if self.shape.kind is Kind.PERCPU_ARRAY else 1

    def _element(self, command: int, key: int, value: ctypes.Array[ctypes.c_char] | None) -> None:
        number = ctypes.create_string_buffer(key.to_bytes(self.shape.key_size, sys.byteorder), self.shape.key_size)
        where = ctypes.addressof(value) if value is not None else 0
        syscalls.bpf(command, _Element(self.fd, ctypes.addressof(number), where, 0))


@dataclass(frozen=True, slots=True)
class Maps:
    """The maps that the program reads and writes."""

    switch: Map
    tables: Map
    cursors: Map
    slots: Map
    connections: Map
    probes: Map
    listening: Map
    sockets: Map


def possible_cpus(text: str | None = None) -> int:
    """Return the number of CPUs that this machine may ever have, and so of values of a PERCPU_ARRAY.

    `text` is like "0-3,8".
    """
    text = POSSIBLE.read_text() if text is None else text
    ranges = [part.partition("-") for part in text.strip().split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def packed(table: Table) -> bytes:
    """Return a table as it is stored in TABLES."""
    order = _filled(table.order, FALLBACKS)
    members = [_filled([rank << NUMBER_BITS | number for number, rank in group], MEMBERS) for group in table.groups]
    return struct.pack(_TABLE, *table.entries, *order, *_filled(list(chain(*members)), GROUPS * MEMBERS))


def unpacked(value: bytes) -> Table:
    """Return a table from TABLES."""
    found = struct.unpack(_TABLE, value)
    entries, rest = found[:ENTRIES], found[ENTRIES:]
    order, members = rest[:FALLBACKS], rest[FALLBACKS:]
    groups = [
        tuple((item & INSTANCES - 1, item >> NUMBER_BITS) for item in members[first : first + MEMBERS] if item)
        for first in range(0, len(members), MEMBERS)
    ]
    return Table(entries, tuple(group for group in groups if group), tuple(instance for instance in order if instance))


def _filled(numbers: Sequence[int], length: int) -> tuple[int, ...]:
    return (*numbers, *[0] * (length - len(numbers)))


_TABLE = f"={TABLES.value_size // 2}H"


class _Create(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("inner_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class _Element(ctypes.Structure):
    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        ("begin", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("fd", ctypes.c_uint32),
        ("element_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _GetInfo(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_uint32), ("size", ctypes.c_uint32), ("info", ctypes.c_uint64))


class _Info(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("number", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


def _info(fd: int) -> _Info:
    info = _Info()
    syscalls.bpf(_OBJ_GET_INFO_BY_FD, _GetInfo(fd, ctypes.sizeof(info), ctypes.addressof(info)))
    return info
