"""eBPF maps: the memory that the program in the kernel and the daemon share (bpf(2), BPF_MAP_CREATE)."""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from deployd.reuseport import syscalls
from deployd.reuseport.table import ENTRIES, FALLBACKS, INSTANCES, Table

POSSIBLE = Path("/sys/devices/system/cpu/possible")

_MAP_CREATE, _MAP_LOOKUP_ELEM, _MAP_UPDATE_ELEM, _MAP_DELETE_ELEM, _OBJ_GET_INFO_BY_FD = 0, 1, 2, 3, 15


class Kind(IntEnum):
    """The members of enum bpf_map_type that are used."""

    ARRAY = 2
    PERCPU_ARRAY = 6
    """An array for each CPU, so that CPUs do not wait for each other."""
    REUSEPORT_SOCKARRAY = 20
    """Listening sockets. A socket is in one such array at most, and leaves it when it is closed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The attributes of a map: its name in the kernel (15 bytes at most), kind, bytes of a value, and number of
    values."""

    name: str
    kind: Kind
    value_size: int
    entries: int


SWITCH = Shape("deployd_switch", Kind.ARRAY, 4, 1)
"""Which of the two tables is in force. A new table is written to the other one, and then these four bytes select it."""
TABLES = Shape("deployd_tables", Kind.ARRAY, 2 * (ENTRIES + FALLBACKS), 2)
"""The entries of each table and then its order, two bytes for each instance; 0 ends the order."""
CURSORS = Shape("deployd_cursors", Kind.PERCPU_ARRAY, 8, 1)
"""The number of connections that each CPU has steered."""
COUNTS = Shape("deployd_counts", Kind.ARRAY, 8 * INSTANCES, 1)
"""The number of connections of each instance, in one value, so that one call reads all of them."""
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
        request = _Create(shape.kind, 4, shape.value_size, shape.entries, 0, 0, 0, shape.name.encode())
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
        if (info.kind, info.key_size, info.value_size, info.entries) == (
            shape.kind,
            4,
            shape.value_size,
            shape.entries,
        ):
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

    def discard(self, key: int) -> None:
        """Remove the listener of an instance from an array of sockets. Raises OSError."""
        with suppress(FileNotFoundError):
            self._element(_MAP_DELETE_ELEM, key, None)

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
        number = ctypes.c_uint32(key)
        where = ctypes.addressof(value) if value is not None else 0
        syscalls.bpf(command, _Element(self.fd, ctypes.addressof(number), where, 0))


def possible_cpus(text: str | None = None) -> int:
    """Return the number of CPUs that this machine may ever have, and so of values of a PERCPU_ARRAY.

    `text` is like "0-3,8".
    """
    text = POSSIBLE.read_text() if text is None else text
    ranges = [part.partition("-") for part in text.strip().split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def packed(table: Table) -> bytes:
    """Return a table as it is stored in TABLES."""
    order = (*table.order, *[0] * (FALLBACKS - len(table.order)))
    return struct.pack(_TABLE, *table.entries, *order)


def unpacked(value: bytes) -> Table:
    """Return a table from TABLES."""
    instances = struct.unpack(_TABLE, value)
    return Table(instances[:ENTRIES], tuple(instance for instance in instances[ENTRIES:] if instance))


_TABLE = f"={ENTRIES + FALLBACKS}H"


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
