"""The program in the kernel: which listener gets a new connection. Each instruction is next to its meaning.

It runs for each SYN that arrives at a group of SO_REUSEPORT listeners, and for each waiting connection of a listener
that is closed (since Linux 5.14). It decides as `deployd.reuseport.table.choose` does; keep both in step.

The verifier of a daemon with CAP_BPF alone follows speculative paths as well, and refuses loops and pointers with a
variable part in the comparison of members. So that has neither: it is written out MEMBERS times, finds the numbers of
each instance by a lookup, and has no branches but at its end. Words on the stack that are written in two ways, or in
parts, are refused by Linux 6.1 ("corrupt spilled pointer").
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from deployd.model.steering import HUNG_TYPICAL
from deployd.reuseport import loading, slots
from deployd.reuseport.assembler import (
    DOUBLE,
    FRAME,
    HALF,
    KTIME,
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
from deployd.reuseport.maps import Map
from deployd.reuseport.table import ENTRIES, FALLBACKS, GROUPS, INSTANCES, MEMBERS, STRIDE

SELECT_OR_MIGRATE = 40
"""enum bpf_attach_type. With it, the program also decides where connections of a closed listener migrate."""

_PASS = 1
_MIGRATING_SK = 48
"""Place in struct sk_reuseport_md, since Linux 5.14: the connection that migrates, or 0."""
_FORGET = 250_000_000
"""Nanoseconds for which an instance is not chosen again after it was found not to listen."""
_HALVE = 27
"""Pending connections are halved each 134 ms: a number of bits by which nanoseconds are shifted."""

# Offsets on the stack.
_KEY = -4
"""The key of a lookup: functions take its address."""
_OTHER_KEY = -8
_COOKIE = -16
_MEMBER = -24
_TABLE = -32
_CONTEXT = -40


@dataclass(frozen=True, slots=True)
class Maps:
    """The maps that the program reads and writes; see maps.py."""

    switch: Map
    tables: Map
    cursors: Map
    slots: Map
    connections: Map
    listening: Map
    sockets: Map


def load(maps: Maps, *, least_busy: bool) -> int:
    """Load the program and return its file descriptor. Raises SteeringError with the last lines of the verifier, if
    any."""
    try:
        return loading.load(_KIND, _NAME, code(maps, least_busy=least_busy), SELECT_OR_MIGRATE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise loading.refused(_KIND, _NAME, code(maps, least_busy=least_busy), error) from error
    older = code(maps, least_busy=least_busy, migrates=False)  # before Linux 5.14 there is no choice
    try:
        return loading.load(_KIND, _NAME, older)
    except OSError as error:
        raise loading.refused(_KIND, _NAME, older, error) from error


_KIND, _NAME = loading.Kind.SK_REUSEPORT, "deployd_steer"


def code(maps: Maps, *, least_busy: bool = True, migrates: bool = True) -> bytes:
    """Return the code of the program, eight bytes for each instruction."""
    do = Assembler()
    do.move(R6, R1)  #                                     r6 = context, the connection to be steered
    _find_group(do, maps)
    _find_least(do, maps, least_busy=least_busy)
    _select(do, maps)
    _count(do, maps, migrates=migrates)
    do.label("pass")
    do.set(R0, _PASS)  #                                   to the selected listener; never dropped
    do.exit()
    return do.code


def _find_group(do: Assembler, maps: Maps) -> None:
    """Set r7 to the address of the table, and r9 to that of the members of the connection's group in it."""
    do.store_number(WORD, FRAME, _KEY, 0)
    do.look_up(maps.switch.fd, _KEY, "pass")  #            r0 = &switch[0]
    do.load(WORD, R1, R0)
    do.mask(R1, 1)
    do.store(WORD, FRAME, _KEY, R1)
    do.look_up(maps.tables.fd, _KEY, "pass")  #            r7 = &tables[switch[0] & 1]
    do.move(R7, R0)

    do.store_number(WORD, FRAME, _KEY, 0)
    do.look_up(maps.cursors.fd, _KEY, "pass")  #           r0 = &cursors[0] of this CPU
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


def _find_least(do: Assembler, maps: Maps, *, least_busy: bool) -> None:
    """Set r7 to the smallest key of the members at r9 (Slot.key), and r8 to the time."""
    do.store(DOUBLE, FRAME, _TABLE, R7)
    do.store(DOUBLE, FRAME, _CONTEXT, R6)
    do.call(KTIME)
    do.move(R8, R0)  #                                     r8 = now, nanoseconds
    do.set(R7, -1)
    do.shift_right(R7, slots.NUMBER_BITS + 1)
    do.shift_left(R7, slots.NUMBER_BITS)  #                r7 = WORST
    for place in range(MEMBERS):
        do.load(HALF, R6, R9, 2 * (ENTRIES + FALLBACKS + place))
        do.jump_if(R6, 0, "compared")  #                   there is no further member
        do.store(DOUBLE, FRAME, _MEMBER, R6)
        do.mask(R6, INSTANCES - 1)
        do.store(WORD, FRAME, _KEY, R6)
        do.look_up(maps.listening.fd, _KEY, "compared")
        do.load(DOUBLE, R6, R0)
        do.add_register(R6, R8)
        do.shift_right(R6, 63)
        do.flip(R6, 1)  #                                  r6 = 1 if it does not listen
        do.look_up(maps.slots.fd, _KEY, "compared")  #     r0 = its slot
        if least_busy:
            _add_load(do)
        _add_age(do)
        do.minimum(R7, R6, R1)
    do.label("compared")
    do.load(DOUBLE, R6, FRAME, _CONTEXT)
    do.mask(R7, INSTANCES - 1)  #                          the number of the member with the smallest key, or 0
    do.store(WORD, FRAME, _KEY, R7)
    do.load(DOUBLE, R7, FRAME, _TABLE)


def _add_load(do: Assembler) -> None:
    """Append to the key r6: whether the instance is hung, how busy it is, its rank, and its open connections."""
    do.load(DOUBLE, R1, R0, slots.IN_FLIGHT)
    do.at_least_zero(R1, R2)  #                            r1 = requests in flight
    _add_silence(do)
    do.load(DOUBLE, R2, R0, slots.CHOSEN_AT)
    do.add(R2, slots.PENDING_FOR)
    do.subtract_register(R2, R8)
    do.shift_signed(R2, 63)
    do.invert(R2)  #                                       r2 = all ones if it was chosen lately
    do.load(DOUBLE, R3, R0, slots.PENDING)
    do.at_least_zero(R3, R4)
    do.mask_register(R3, R2)
    do.add_register(R1, R3)
    do.at_most(R1, (1 << slots.LOAD_BITS) - 1, R2)
    do.shift_left(R6, slots.LOAD_BITS)
    do.merge_register(R6, R1)

    do.load(DOUBLE, R1, FRAME, _MEMBER)
    do.shift_right(R1, slots.NUMBER_BITS)  #               r1 = its rank
    do.shift_left(R6, slots.RANK_BITS)
    do.merge_register(R6, R1)
    do.load(DOUBLE, R1, R0, slots.OPEN)
    do.at_least_zero(R1, R2)
    do.at_most(R1, (1 << slots.OPEN_BITS) - 1, R2)
    do.shift_left(R6, slots.OPEN_BITS)
    do.merge_register(R6, R1)


def _add_silence(do: Assembler) -> None:
    """Append to the key r6 whether the instance is hung, and add to r1 what being late counts for."""
    do.set(R2, 0)
    do.subtract_register(R2, R1)
    do.shift_right(R2, 63)  #                              r2 = 1 if there are any
    do.move(R3, R8)
    do.load(DOUBLE, R4, R0, slots.PROGRESS)
    do.subtract_register(R3, R4)  #                        r3 = time without an answer
    do.load(DOUBLE, R5, R0, slots.TYPICAL)
    do.move(R4, R5)
    do.multiply(R4, HUNG_TYPICAL)
    do.add(R4, slots.HUNG)
    do.subtract_register(R4, R3)
    do.shift_right(R4, 63)  #                              r4 = 1 if that is longer than HUNG ...
    do.mask_register(R4, R2)  #                            ... and there are any
    do.shift_left(R6, 1)
    do.merge_register(R6, R4)

    do.shift_left(R5, 1)
    do.subtract_register(R3, R5)
    do.add(R3, -slots.PATIENCE)  #                         r3 = time for which it is late
    do.move(R4, R3)
    do.shift_signed(R4, 63)
    do.invert(R4)  #                                       r4 = all ones if it is
    do.shift_right(R3, slots.MILLISECOND)
    do.add(R3, slots.LATE)
    do.mask_register(R3, R4)
    do.set(R4, 0)
    do.subtract_register(R4, R2)  #                        r4 = all ones if there are requests in flight
    do.mask_register(R3, R4)
    do.add_register(R1, R3)


def _add_age(do: Assembler) -> None:
    """Append to the key r6: how long ago the instance was chosen, so that the longest time is the least, and its
    number."""
    do.load(DOUBLE, R1, R0, slots.CHOSEN_AT)
    do.shift_right(R1, slots.TICK)
    do.move(R2, R8)
    do.shift_right(R2, slots.TICK)
    do.subtract_register(R2, R1)
    do.at_least_zero(R2, R1)
    do.set(R1, (1 << slots.AGE_BITS) - 1)
    do.subtract_register(R1, R2)
    do.at_least_zero(R1, R2)
    do.shift_left(R6, slots.AGE_BITS)
    do.merge_register(R6, R1)
    do.load(DOUBLE, R1, FRAME, _MEMBER)
    do.mask(R1, INSTANCES - 1)
    do.shift_left(R6, slots.NUMBER_BITS)
    do.merge_register(R6, R1)


def _select(do: Assembler, maps: Maps) -> None:
    """Make the instance at _KEY the listener of the connection and jump to "selected", or the first in order that
    listens."""
    _try(do, maps.sockets)
    do.look_up(maps.listening.fd, _KEY, "pass")
    do.set(R1, 1)
    do.shift_left(R1, 63)
    do.subtract_register(R1, R8)
    do.add(R1, -_FORGET)
    do.store(DOUBLE, R0, 0, R1)  #                         it does not listen: do not try it again at once
    for place in range(FALLBACKS):
        do.load(HALF, R1, R7, 2 * (ENTRIES + place))  #    the next instance in order,
        do.jump_if(R1, 0, "pass")  #                       until there is none: the kernel selects by hash
        do.store(WORD, FRAME, _KEY, R1)
        _try(do, maps.sockets)
    do.jump("pass")


def _try(do: Assembler, sockets: Map) -> None:
    do.move(R1, R6)
    do.load_map(R2, sockets.fd)
    do.move(R3, FRAME)
    do.add(R3, _KEY)
    do.set(R4, 0)
    do.call(SELECT_LISTENER)
    do.jump_if(R0, 0, "selected")


def _count(do: Assembler, maps: Maps, *, migrates: bool) -> None:
    """Count the connection for the instance at _KEY."""
    do.label("selected")
    do.look_up(maps.slots.fd, _KEY, "pass")
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


def _migrate(do: Assembler, maps: Maps) -> None:
    """If the connection is one that migrates, count it for the instance at _KEY instead of the one before."""
    do.load(DOUBLE, R1, R6, _MIGRATING_SK)
    do.jump_if(R1, 0, "new")
    do.call(SOCKET_COOKIE)
    do.store(DOUBLE, FRAME, _COOKIE, R0)
    do.store(DOUBLE, R7, slots.CHOSEN_AT, R8)
    do.look_up(maps.connections.fd, _COOKIE, "pass")
    do.move(R9, R0)  #                                     r9 = its entry
    do.load(WORD, R1, R9)
    do.store(WORD, FRAME, _OTHER_KEY, R1)
    do.load(WORD, R1, FRAME, _KEY)
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
    do.label("new")
