"""The program in the kernel: which listener gets a new connection. Each instruction is next to its meaning.

It runs for each SYN that arrives at a group of SO_REUSEPORT listeners, and for each waiting connection of a listener
that is closed (since Linux 5.14). It decides as `deployd.reuseport.table.choose` does; keep both in step.
"""

from __future__ import annotations

import errno
import sys

from deployd.reuseport import loading, slots
from deployd.reuseport.assembler import (
    BYTE,
    DOUBLE,
    FRAME,
    HALF,
    KTIME,
    LOAD_BYTES,
    LOAD_BYTES_FROM,
    MAP_UPDATE,
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    SELECT_LISTENER,
    SOCKET_COOKIE,
    WORD,
    Assembler,
)
from deployd.reuseport.comparison import KEY, find_least
from deployd.reuseport.maps import IPV4, IPV6, LOCALHOST, LOCALHOST_IPV6, Map, Maps
from deployd.reuseport.table import ENTRIES, FALLBACKS, GROUPS, MEMBERS, STRIDE

SELECT_OR_MIGRATE = 40
"""enum bpf_attach_type. With it, the program also decides where connections of a closed listener migrate."""

_DROP, _PASS = 0, 1
_PROTOCOL, _MIGRATING_SK = 20, 48
"""Places in struct sk_reuseport_md; since Linux 5.14 there is the connection that migrates, or 0."""
_ETH_P_IPV6 = int.from_bytes(b"\x86\xdd", sys.byteorder)
_NETWORK_HEADER = 1
"""BPF_HDR_START_NET"""
_STATE, _NEW_SYN_RECV = 72, 12
"""Place of the state in struct bpf_sock, and the state of a handshake."""
_FLAGS, _SYN = 13, 2
"""Place of the flags in the TCP header, and that of the first segment of a connection."""
_FORGET = 250_000_000
"""Nanoseconds for which an instance is not chosen again after it was found not to listen."""
_ONLY_NEW = 1
"""BPF_NOEXIST"""
_HALVE = 27
"""Pending connections are halved each 134 ms: a number of bits by which nanoseconds are shifted."""

# Offsets on the stack. Those from -24 to -40 are of comparison.py. Keys of 32 bits are in the upper half of a word:
# Linux 6.1 takes a number in its lower half for a spilled register, and then refuses to have the other half written.
_COOKIE, _ADDRESS, _PORT, _PROBE, _ENTRY, _OTHER_KEY, _SEGMENT = -16, -56, -64, -72, -88, -92, -96


def load(maps: Maps, *, least_busy: bool, members: int) -> int:
    """Load the program and return its file descriptor. Raises SteeringError with the last lines of the verifier, if
    any."""
    try:
        newer = code(maps, least_busy=least_busy, members=members)
        return loading.load(_KIND, _NAME, newer, SELECT_OR_MIGRATE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise loading.refused(_KIND, _NAME, newer, error) from error
    older = code(maps, least_busy=least_busy, members=members, migrates=False)  # before Linux 5.14 there is no choice
    try:
        return loading.load(_KIND, _NAME, older)
    except OSError as error:
        raise loading.refused(_KIND, _NAME, older, error) from error


_KIND, _NAME = loading.Kind.SK_REUSEPORT, "deployd_steer"


def code(maps: Maps, *, least_busy: bool = True, members: int = MEMBERS, migrates: bool = True) -> bytes:
    """Return the code of the program, eight bytes for each instruction."""
    do = Assembler()
    do.move(R6, R1)  #                                     r6 = context, the connection to be steered
    _obey_probe(do, maps)
    _find_group(do, maps)
    find_least(do, maps, least_busy=least_busy, members=members)
    _select(do, maps)
    _count(do, maps, migrates=migrates)
    do.label("pass")
    do.set(R0, _PASS)  #                                   to the selected listener; never dropped
    do.exit()
    return do.code


def _obey_probe(do: Assembler, maps: Maps) -> None:
    """Give a connection of the daemon to the instance that it asks for, and to no other; see probes.py."""
    do.load(WORD, R1, R6, _PROTOCOL)
    do.jump_if(R1, _ETH_P_IPV6, "IPv6")
    _load_source(do, 12, 4)
    do.load(WORD, R1, FRAME, _ADDRESS)
    do.jump_unless(R1, LOCALHOST, "client")
    do.set(R9, IPV4)
    do.jump("local")
    do.label("IPv6")
    _load_source(do, 8, 16)
    for place, part in enumerate(LOCALHOST_IPV6):
        do.load(WORD, R1, FRAME, _ADDRESS + 4 * place)
        do.jump_unless(R1, part, "client")
    do.set(R9, IPV6)

    do.label("local")
    do.move(R1, R6)
    do.set(R2, 0)
    do.move(R3, FRAME)
    do.add(R3, _PORT)
    do.set(R4, 2)
    do.call(LOAD_BYTES)
    do.jump_unless(R0, 0, "client")
    do.load(HALF, R1, FRAME, _PORT)
    do.merge_register(R9, R1)
    do.store(DOUBLE, FRAME, _PROBE, R9)  #                 family and port of the source
    do.look_up(maps.probes.fd, _PROBE, "client")
    do.load(DOUBLE, R8, R0, 8)  #                          r8 = the time until which it counts
    do.load(WORD, R1, R0)
    do.store(WORD, FRAME, KEY, R1)
    do.call(KTIME)
    do.jump_if_at_least(R0, R8, "client")
    _try(do, maps.sockets, "pass")  #                      without being counted
    do.set(R0, _DROP)
    do.exit()
    do.label("client")


def _load_source(do: Assembler, offset: int, size: int) -> None:
    do.move(R1, R6)
    do.set(R2, offset)
    do.move(R3, FRAME)
    do.add(R3, _ADDRESS)
    do.set(R4, size)
    do.set(R5, _NETWORK_HEADER)
    do.call(LOAD_BYTES_FROM)
    do.jump_unless(R0, 0, "client")  #                     a connection that migrates


def _find_group(do: Assembler, maps: Maps) -> None:
    """Set r7 to the address of the table, and r9 to that of the members of the connection's group in it."""
    do.store_number(WORD, FRAME, KEY, 0)
    do.look_up(maps.switch.fd, KEY, "pass")  #            r0 = &switch[0]
    do.load(WORD, R1, R0)
    do.mask(R1, 1)
    do.store(WORD, FRAME, KEY, R1)
    do.look_up(maps.tables.fd, KEY, "pass")  #            r7 = &tables[switch[0] & 1]
    do.move(R7, R0)

    do.store_number(WORD, FRAME, KEY, 0)
    do.look_up(maps.cursors.fd, KEY, "pass")  #           r0 = &cursors[0] of this CPU
    do.load(DOUBLE, R9, R0)  #                             r9 = the number of this connection ...
    do.move(R1, R9)
    do.add(R1, 1)
    do.store(DOUBLE, R0, 0, R1)  #                         ... and of the next one. No other program counts on this CPU.

    do.multiply(R9, STRIDE)
    do.mask(R9, ENTRIES - 1)  #                            r9 = its entry: number * STRIDE % ENTRIES
    do.add_register(R9, R9)  #                             two bytes each
    do.add_register(R9, R7)
    do.load(HALF, R9, R9)  #                               r9 = the group that the entry names
    do.mask(R9, GROUPS - 1)  #                             the verifier requires a check of the bounds
    do.multiply(R9, 2 * MEMBERS)
    do.add_register(R9, R7)


def _select(do: Assembler, maps: Maps) -> None:
    """Make the instance at KEY the listener of the connection and jump to "selected", or the first in order that
    listens."""
    _try(do, maps.sockets)
    do.look_up(maps.listening.fd, KEY, "pass")
    do.set(R1, 1)
    do.shift_left(R1, 63)
    do.subtract_register(R1, R8)
    do.add(R1, -_FORGET)
    do.store(DOUBLE, R0, 0, R1)  #                         it does not listen: do not try it again at once
    for place in range(FALLBACKS):
        do.load(HALF, R1, R7, 2 * (ENTRIES + place))  #    the next instance in order,
        do.jump_if(R1, 0, "pass")  #                       until there is none: the kernel selects by hash
        do.store(WORD, FRAME, KEY, R1)
        _try(do, maps.sockets)
    do.jump("pass")


def _try(do: Assembler, sockets: Map, selected: str = "selected") -> None:
    do.move(R1, R6)
    do.load_map(R2, sockets.fd)
    do.move(R3, FRAME)
    do.add(R3, KEY)
    do.set(R4, 0)
    do.call(SELECT_LISTENER)
    do.jump_if(R0, 0, selected)


def _count(do: Assembler, maps: Maps, *, migrates: bool) -> None:
    """Count the connection for the instance at KEY."""
    do.label("selected")
    _leave_strays(do)
    do.look_up(maps.slots.fd, KEY, "pass")
    do.move(R7, R0)  #                                     r7 = the slot of the instance
    do.set(R1, 1)
    do.atomic_add(DOUBLE, R7, slots.CHOSEN, R1)
    if migrates:
        _migrate(do, maps)
    do.load(DOUBLE, R1, R7, slots.CHOSEN_AT)
    do.load(DOUBLE, R2, R7, slots.PENDING)
    do.move(R3, R1)
    do.add(R3, slots.PENDING_FOR)
    do.jump_if_at_least(R3, R8, "lately")
    do.set(R2, 0)  #                                       those that were pending are forgotten
    do.jump("pending")
    do.label("lately")
    do.shift_right(R1, _HALVE)
    do.move(R3, R8)
    do.shift_right(R3, _HALVE)
    do.jump_if_equal(R1, R3, "pending")
    do.shift_signed(R2, 1)  #                              a new period has begun: halve them
    do.label("pending")
    do.add(R2, 1)
    do.store(DOUBLE, R7, slots.PENDING, R2)
    do.store(DOUBLE, R7, slots.CHOSEN_AT, R8)


def _leave_strays(do: Assembler) -> None:
    """Do not count a segment that begins no connection: one of a connection that the kernel has forgotten, or the end
    of a handshake with a SYN cookie, which the filter of the listener counts when its request arrives."""
    do.move(R1, R6)
    do.set(R2, _FLAGS)
    do.move(R3, FRAME)
    do.add(R3, _SEGMENT)
    do.set(R4, 1)
    do.call(LOAD_BYTES)
    do.jump_unless(R0, 0, "begins")  #                     a connection that migrates
    do.load(BYTE, R1, FRAME, _SEGMENT)
    do.jump_if_any(R1, _SYN, "begins")
    do.jump("pass")
    do.label("begins")


def _migrate(do: Assembler, maps: Maps) -> None:
    """If the connection is one that migrates, count it for the instance at KEY instead of the one before."""
    do.load(DOUBLE, R1, R6, _MIGRATING_SK)
    do.jump_if(R1, 0, "new")
    do.load(WORD, R9, R1, _STATE)
    do.call(SOCKET_COOKIE)
    do.store(DOUBLE, FRAME, _COOKIE, R0)
    do.store(DOUBLE, R7, slots.CHOSEN_AT, R8)
    do.look_up(maps.connections.fd, _COOKIE, "silent")
    do.move(R9, R0)  #                                     r9 = its entry
    do.load(WORD, R1, R9)
    do.store(WORD, FRAME, _OTHER_KEY, R1)
    do.load(WORD, R1, FRAME, KEY)
    do.store(WORD, R9, 0, R1)
    do.set(R1, 1)
    do.atomic_add(DOUBLE, R7, slots.OPEN, R1)
    do.load(WORD, R1, R9, 4)
    do.jump_if(R1, 0, "moved")
    do.load(DOUBLE, R2, R7, slots.IN_FLIGHT)
    do.set(R1, 1)
    do.atomic_add(DOUBLE, R7, slots.IN_FLIGHT, R1)
    do.jump_if_positive(R2, "moved")
    do.store(DOUBLE, R7, slots.PROGRESS, R8)
    do.label("moved")
    do.look_up(maps.slots.fd, _OTHER_KEY, "pass")  #       r0 = the slot of the instance before
    do.set(R1, -1)
    do.atomic_add(DOUBLE, R0, slots.OPEN, R1)
    do.load(WORD, R2, R9, 4)
    do.jump_if(R2, 0, "pass")
    do.atomic_add(DOUBLE, R0, slots.IN_FLIGHT, R1)
    do.jump("pass")

    # Its filter is that of the instance before, which must not count it later.
    do.label("silent")
    do.jump_if(R9, _NEW_SYN_RECV, "pass")  #               the filter will be that of the new one
    do.load(WORD, R1, FRAME, KEY)
    do.store(DOUBLE, FRAME, _ENTRY, R1)
    do.set(R1, 0)
    do.store(DOUBLE, FRAME, _ENTRY + 8, R1)
    do.load_map(R1, maps.connections.fd)
    do.move(R2, FRAME)
    do.add(R2, _COOKIE)
    do.move(R3, FRAME)
    do.add(R3, _ENTRY)
    do.set(R4, _ONLY_NEW)
    do.call(MAP_UPDATE)
    do.jump_unless(R0, 0, "pass")
    do.set(R1, 1)
    do.atomic_add(DOUBLE, R7, slots.OPEN, R1)
    do.jump("pass")
    do.label("new")
