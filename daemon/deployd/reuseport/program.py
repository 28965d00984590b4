"""The program in the kernel: which listener gets a new connection. Each instruction is next to its meaning.

It runs for each SYN that arrives at a group of SO_REUSEPORT listeners, and for each waiting connection of a listener
that is closed (since Linux 5.14). It decides as `deployd.reuseport.table.choose` does; keep both in step.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass

from deployd.errors import SteeringError
from deployd.reuseport import syscalls
from deployd.reuseport.assembler import DOUBLE, FRAME, HALF, R0, R1, R2, R3, R4, R6, R7, R8, WORD, Assembler
from deployd.reuseport.maps import Map
from deployd.reuseport.table import ENTRIES, FALLBACKS, INSTANCES, STRIDE

PROG_LOAD = 5
_SK_REUSEPORT = 21
SELECT_OR_MIGRATE = 40
"""enum bpf_attach_type. With it, the program also decides where connections of a closed listener migrate."""

# Functions of the kernel (bpf-helpers(7)).
_MAP_LOOKUP = 1
_SK_SELECT_REUSEPORT = 82
_PASS = 1

_KEY = -4
"""Offset on the stack of the key of a lookup: functions take its address."""


@dataclass(frozen=True, slots=True)
class Maps:
    """The maps that the program reads and writes; see maps.py."""

    switch: Map
    tables: Map
    cursors: Map
    counts: Map
    sockets: Map


def code(maps: Maps) -> bytes:
    """Return the code of the program, eight bytes for each instruction."""
    do = Assembler()
    do.move(R6, R1)  #                                     r6 = context, the connection to be steered

    do.store_number(WORD, FRAME, _KEY, 0)
    _look_up(do, maps.switch)  #                           r0 = &switch[0]
    do.load(WORD, R1, R0)
    do.mask(R1, 1)
    do.store(WORD, FRAME, _KEY, R1)
    _look_up(do, maps.tables)  #                           r7 = &tables[switch[0] & 1]
    do.move(R7, R0)

    do.store_number(WORD, FRAME, _KEY, 0)
    _look_up(do, maps.cursors)  #                          r0 = &cursors[0] of this CPU
    do.load(DOUBLE, R8, R0)  #                             r8 = the number of this connection ...
    do.move(R1, R8)
    do.add(R1, 1)
    do.store(DOUBLE, R0, 0, R1)  #                         ... and of the next one. No other program counts on this CPU.

    do.multiply(R8, STRIDE)
    do.mask(R8, ENTRIES - 1)  #                            r8 = its entry: number * STRIDE % ENTRIES
    do.add_register(R8, R8)  #                             two bytes each
    do.add_register(R8, R7)
    do.load(HALF, R8, R8)  #                               r8 = the instance that the entry names
    _select(do, maps.sockets)  #                           does it listen?

    for place in range(FALLBACKS):
        do.load(HALF, R8, R7, 2 * (ENTRIES + place))  #    else r8 = the next instance in order,
        do.jump_if(R8, 0, "pass")  #                       until there is none: the kernel selects by hash
        _select(do, maps.sockets)
    do.jump("pass")

    do.label("selected")
    do.store_number(WORD, FRAME, _KEY, 0)
    _look_up(do, maps.counts)  #                           r0 = &counts[0]
    do.mask(R8, INSTANCES - 1)  #                          the verifier requires a check of the bounds
    do.multiply(R8, 8)
    do.add_register(R0, R8)
    do.set(R1, 1)
    do.atomic_add(DOUBLE, R0, 0, R1)  #                    counts[instance] += 1

    do.label("pass")
    do.set(R0, _PASS)  #                                   to the selected listener; never dropped
    do.exit()
    return do.code


def _look_up(do: Assembler, table: Map) -> None:
    """Set r0 to the address of the value whose key is at _KEY."""
    do.load_map(R1, table.fd)
    do.move(R2, FRAME)
    do.add(R2, _KEY)
    do.call(_MAP_LOOKUP)
    do.jump_if(R0, 0, "pass")  # never 0, but the verifier requires a check


def _select(do: Assembler, sockets: Map) -> None:
    """If instance r8 listens, make it the listener of the connection and jump to "selected"."""
    do.store(WORD, FRAME, _KEY, R8)
    do.move(R1, R6)
    do.load_map(R2, sockets.fd)
    do.move(R3, FRAME)
    do.add(R3, _KEY)
    do.set(R4, 0)
    do.call(_SK_SELECT_REUSEPORT)
    do.jump_if(R0, 0, "selected")


def load(code: bytes) -> int:
    """Load a program and return its file descriptor. Raises SteeringError with the last lines of the verifier, if
    any."""
    log = ctypes.create_string_buffer(64 * 1024)
    try:
        try:
            return _load(code, SELECT_OR_MIGRATE, None)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return _load(code, 0, None)  # before Linux 5.14 there is no choice
    except OSError as error:
        try:
            # Load it again, so that a log is written only if it is read.
            return _load(code, 0, log)
        except OSError as again:
            said = log.value.decode(errors="replace").strip().splitlines()
            raise SteeringError(_reason(again, said)) from error


def _reason(error: OSError, said: list[str]) -> str:
    words = f" (the verifier says: {' / '.join(said[-3:])})" if said else ""
    return f"cannot load the steering program into the kernel: {os.strerror(error.errno or 0)}{words}"


def _load(code: bytes, attach_type: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
    held = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    request = _Load(
        kind=_SK_REUSEPORT,
        instructions=len(code) // struct.calcsize("=BBhi"),
        code=ctypes.addressof(held),
        licence=ctypes.addressof(licence),
        log_level=0 if log is None else 1,
        log_size=0 if log is None else len(log),
        log=0 if log is None else ctypes.addressof(log),
        name=b"deployd_steer",
        attach_type=attach_type,
    )
    return syscalls.bpf(PROG_LOAD, request)


class _Load(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("instructions", ctypes.c_uint32),
        ("code", ctypes.c_uint64),
        ("licence", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log", ctypes.c_uint64),
        ("kernel_version", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("interface", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
    )
