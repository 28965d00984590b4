"""The filter in the kernel that counts what an instance has to do. Each instruction is next to its meaning.

It is a socket filter on each listener of an instance (SO_ATTACH_BPF), which accepted connections inherit. The kernel
runs it for each TCP segment that arrives for such a connection, the TCP header first. It drops nothing.

A connection is in flight from the segment with data until the client acknowledges something that the instance has sent
since. It is open from the first segment with data until the instance has closed it, or the client has reset it. That
changes the numbers of its slot (slots.py) and its entry in CONNECTIONS. Connections that wait in the queue count.
"""

from __future__ import annotations

import struct

from deployd.reuseport import loading, slots
from deployd.reuseport.assembler import (
    BYTE,
    DOUBLE,
    FRAME,
    HALF,
    KTIME,
    LOAD_BYTES,
    MAP_DELETE,
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
    SOCKET_COOKIE,
    WORD,
    Assembler,
)
from deployd.reuseport.maps import IPV4, IPV6, LOCALHOST, LOCALHOST_IPV6, Maps

_LENGTH, _SK, _REMOTE_IPV4, _REMOTE_IPV6, _STATE = 0, 168, 52, 56, 72
"""Places in struct __sk_buff and struct bpf_sock."""
_ESTABLISHED, _SYN_RECV, _CLOSE_WAIT, _LISTEN = 1, 3, 8, 10
_FIN, _RST = 1, 4
_KEEP_ALL = -1
_ONLY_NEW = 1
"""BPF_NOEXIST"""

ENTRY = struct.Struct("=IIII")
"""A value of CONNECTIONS: the instance, 1 if a request is in flight, the last acknowledgement (as on the wire), unused.
"""
_INSTANCE, _IN_FLIGHT, _ACKNOWLEDGED = 0, 4, 8

# Offsets on the stack.
_HEADER = -32
"""The first 16 bytes of the TCP header."""
_ACK, _OFFSET, _FLAGS = _HEADER + 8, _HEADER + 12, _HEADER + 13
_COOKIE, _KEY, _VALUE, _ENTRY, _PROBE = -40, -44, -64, -72, -80


def load(instance: int, maps: Maps) -> int:
    """Load the filter of an instance's listeners, and return its file descriptor. Raises OSError."""
    return loading.load(loading.Kind.SOCKET_FILTER, "deployd_count", code(instance, maps))


def code(instance: int, maps: Maps) -> bytes:
    """Return the code of the filter, eight bytes for each instruction."""
    do = Assembler()
    do.move(R6, R1)  #                                     r6 = context, the segment
    _read_header(do)
    do.store_number(WORD, FRAME, _KEY, instance)
    do.look_up(maps.slots.fd, _KEY, "keep")
    do.move(R7, R0)  #                                     r7 = the slot of the instance
    do.move(R1, R6)
    do.call(SOCKET_COOKIE)
    do.store(DOUBLE, FRAME, _COOKIE, R0)
    do.look_up(maps.connections.fd, _COOKIE, "unknown")
    do.jump("known")
    _begin(do, instance, maps)
    do.label("known")
    _find_slot(do, maps)
    _follow(do)
    _end(do, maps)
    do.label("keep")
    do.set(R0, _KEEP_ALL)
    do.exit()
    return do.code


def _read_header(do: Assembler) -> None:
    """Set r8 to the number of bytes that the segment carries, and r9 to the state of the connection."""
    do.load(DOUBLE, R1, R6, _SK)
    do.jump_if(R1, 0, "keep")
    do.load(WORD, R9, R1, _STATE)
    do.jump_if(R9, _LISTEN, "keep")  #                     a handshake
    do.move(R1, R6)
    do.set(R2, 0)
    do.move(R3, FRAME)
    do.add(R3, _HEADER)
    do.set(R4, 16)
    do.call(LOAD_BYTES)
    do.jump_unless(R0, 0, "keep")
    do.load(BYTE, R2, FRAME, _OFFSET)
    do.shift_right(R2, 4)
    do.shift_left(R2, 2)  #                                r2 = length of the header
    do.load(WORD, R8, R6, _LENGTH)
    do.subtract_register(R8, R2)


def _begin(do: Assembler, instance: int, maps: Maps) -> None:
    """Make an entry for a connection that has none."""
    do.label("unknown")
    do.jump_if(R9, _ESTABLISHED, "first")
    do.jump_unless(R9, _SYN_RECV, "keep")
    do.label("first")
    _leave_probes(do, maps)
    do.load(DOUBLE, R1, R7, slots.PENDING)
    do.jump_if_positive(R1, "was pending")
    do.jump("not pending")
    do.label("was pending")
    do.set(R1, -1)
    do.atomic_add(DOUBLE, R7, slots.PENDING, R1)
    do.label("not pending")
    do.load(BYTE, R2, FRAME, _FLAGS)
    do.jump_if_any(R2, _FIN | _RST, "keep")  #             it ends without a request
    do.set(R2, instance)
    do.store(DOUBLE, FRAME, _VALUE, R2)
    do.load(WORD, R2, FRAME, _ACK)
    do.store(DOUBLE, FRAME, _VALUE + 8, R2)
    do.load_map(R1, maps.connections.fd)
    do.move(R2, FRAME)
    do.add(R2, _COOKIE)
    do.move(R3, FRAME)
    do.add(R3, _VALUE)
    do.set(R4, _ONLY_NEW)
    do.call(MAP_UPDATE)
    do.jump_unless(R0, 0, "keep")  #                       too many connections
    do.set(R1, 1)
    do.atomic_add(DOUBLE, R7, slots.OPEN, R1)
    do.look_up(maps.connections.fd, _COOKIE, "keep")


def _leave_probes(do: Assembler, maps: Maps) -> None:
    """Count no connection of the daemon; see probes.py."""
    do.load(DOUBLE, R1, R6, _SK)
    do.jump_if(R1, 0, "keep")
    do.load(WORD, R2, R1, _REMOTE_IPV4)
    do.set(R5, IPV4)
    do.jump_if(R2, LOCALHOST, "local")
    for place, part in enumerate(LOCALHOST_IPV6):
        do.load(WORD, R2, R1, _REMOTE_IPV6 + 4 * place)
        do.jump_unless(R2, part, "client")
    do.set(R5, IPV6)
    do.label("local")
    do.load(HALF, R2, FRAME, _HEADER)
    do.merge_register(R5, R2)
    do.store(DOUBLE, FRAME, _PROBE, R5)  #                 family and port of the source
    do.look_up(maps.probes.fd, _PROBE, "client")
    do.jump("keep")
    do.label("client")


def _find_slot(do: Assembler, maps: Maps) -> None:
    """Set r7 to the slot of the instance that the entry r0 names: a connection may have migrated from another one."""
    do.store(DOUBLE, FRAME, _ENTRY, R0)
    do.load(WORD, R1, R0, _INSTANCE)
    do.store(WORD, FRAME, _KEY, R1)
    do.look_up(maps.slots.fd, _KEY, "keep")
    do.move(R7, R0)
    do.load(DOUBLE, R0, FRAME, _ENTRY)


def _follow(do: Assembler) -> None:
    """Note that the client acknowledges an answer, or sends a request, on the connection with the entry r0."""
    do.load(BYTE, R2, FRAME, _FLAGS)
    do.jump_if_any(R2, _RST, "ended")
    do.jump_if(R9, _ESTABLISHED, "lives")
    do.jump_if(R9, _SYN_RECV, "lives")
    do.jump_unless(R9, _CLOSE_WAIT, "ended")  #            the instance has closed it
    do.label("lives")
    do.load(WORD, R3, R0, _IN_FLIGHT)
    do.load(WORD, R4, FRAME, _ACK)
    do.load(WORD, R5, R0, _ACKNOWLEDGED)
    do.jump_if_equal(R4, R5, "acknowledged")  #            nothing new
    do.store(WORD, R0, _ACKNOWLEDGED, R4)
    do.jump_if(R3, 0, "acknowledged")
    do.store_number(WORD, R0, _IN_FLIGHT, 0)
    do.set(R1, -1)
    do.atomic_add(DOUBLE, R7, slots.IN_FLIGHT, R1)
    do.move(R9, R0)
    _progress(do, "answered")
    do.move(R0, R9)
    do.set(R3, 0)
    do.label("acknowledged")
    do.jump_if_positive(R8, "data")
    do.jump("keep")
    do.label("data")
    do.jump_unless(R3, 0, "keep")  #                       it is in flight already
    do.store_number(WORD, R0, _IN_FLIGHT, 1)
    do.load(DOUBLE, R2, R7, slots.IN_FLIGHT)
    do.set(R1, 1)
    do.atomic_add(DOUBLE, R7, slots.IN_FLIGHT, R1)
    do.jump_if_positive(R2, "keep")
    do.call(KTIME)
    do.store(DOUBLE, R7, slots.PROGRESS, R0)  #            the instance was idle
    do.jump("keep")


def _end(do: Assembler, maps: Maps) -> None:
    """Remove the entry r0."""
    do.label("ended")
    do.load(WORD, R3, R0, _IN_FLIGHT)
    do.jump_if(R3, 0, "idle")
    do.set(R1, -1)
    do.atomic_add(DOUBLE, R7, slots.IN_FLIGHT, R1)
    _progress(do, "closed")
    do.label("idle")
    do.load_map(R1, maps.connections.fd)
    do.move(R2, FRAME)
    do.add(R2, _COOKIE)
    do.call(MAP_DELETE)
    do.jump_unless(R0, 0, "keep")
    do.set(R1, -1)
    do.atomic_add(DOUBLE, R7, slots.OPEN, R1)


def _progress(do: Assembler, label: str) -> None:
    """Note the time, and have the typical time follow the median of the times between two answers, and the longest one
    the longest of them. Leaves r6 to r9.

    The first time is the typical one, and those that are far above it count more: an instance whose typical time is
    still much too short seems late with each request, and the others get what it could take."""
    do.call(KTIME)
    do.move(R4, R0)
    do.load(DOUBLE, R3, R7, slots.PROGRESS)
    do.subtract_register(R4, R3)  #                        r4 = time since the last answer
    do.load(DOUBLE, R2, R7, slots.TYPICAL)
    do.jump_unless(R2, 0, f"{label} again")
    do.move(R2, R4)  #                                     the first one
    do.jump(f"{label} noted")
    do.label(f"{label} again")
    do.move(R3, R2)
    do.move(R5, R2)
    do.shift_left(R5, slots.FAR_BITS)  #                   r5 = the time from which on another one is far above it
    do.jump_if_greater(R4, R5, f"{label} far")
    do.shift_right(R3, 2)
    do.label(f"{label} far")
    do.shift_right(R3, 1)
    do.add(R3, 1000)  #                                    r3 = a step: an eighth of it or a half, and a microsecond
    do.jump_if_greater(R4, R2, f"{label} late")
    do.subtract_register(R2, R3)
    do.at_least_zero(R2, R3)
    do.jump(f"{label} noted")
    do.label(f"{label} late")
    do.add_register(R2, R3)
    do.label(f"{label} noted")
    do.store(DOUBLE, R7, slots.TYPICAL, R2)
    do.store(DOUBLE, R7, slots.PROGRESS, R0)
    do.load(DOUBLE, R3, R7, slots.LONGEST)
    do.move(R5, R3)
    do.shift_right(R5, slots.FADE_BITS)
    do.subtract_register(R3, R5)
    do.jump_if_greater(R3, R4, f"{label} before")
    do.move(R3, R4)
    do.label(f"{label} before")
    do.store(DOUBLE, R7, slots.LONGEST, R3)
