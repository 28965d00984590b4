"""The part of the program in the kernel that finds the least loaded member of a group, in step with `Slot.key`.

The verifier of a daemon with CAP_BPF alone follows speculative paths as well, and refuses loops, and pointers with a
variable part here. So this has neither: it is written out for each member, finds the numbers of each instance by a
lookup, and has no branches but those at the end of the list. Words on the stack that are written in two ways, or in
parts, are refused by Linux 6.1 ("corrupt spilled pointer").
"""

from __future__ import annotations

from deployd.model.steering import HUNG_TYPICAL
from deployd.reuseport import slots
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
    WORD,
    Assembler,
)
from deployd.reuseport.maps import Maps
from deployd.reuseport.table import ENTRIES, FALLBACKS, INSTANCES

# Offsets on the stack.
KEY = -4
"""The key of a lookup: functions take its address. At the end it is the number of the instance, or 0."""
_MEMBER, _TABLE, _CONTEXT = -24, -32, -40


def find_least(do: Assembler, maps: Maps, *, least_busy: bool, members: int) -> None:
    """Set r7 to the smallest key of so many members at r9 (Slot.key), and r8 to the time."""
    do.store(DOUBLE, FRAME, _TABLE, R7)
    do.store(DOUBLE, FRAME, _CONTEXT, R6)
    do.call(KTIME)
    do.move(R8, R0)  #                                     r8 = now, nanoseconds
    do.set(R7, -1)
    do.shift_right(R7, slots.NUMBER_BITS + 1)
    do.shift_left(R7, slots.NUMBER_BITS)  #                r7 = WORST
    for place in range(members):
        do.load(HALF, R6, R9, 2 * (ENTRIES + FALLBACKS + place))
        do.jump_if(R6, 0, "compared")  #                   there is no further member
        do.store(DOUBLE, FRAME, _MEMBER, R6)
        do.mask(R6, INSTANCES - 1)
        do.store(WORD, FRAME, KEY, R6)
        do.look_up(maps.listening.fd, KEY, "compared")
        do.load(DOUBLE, R6, R0)
        do.add_register(R6, R8)
        do.shift_right(R6, 63)
        do.flip(R6, 1)  #                                  r6 = 1 if it does not listen
        do.look_up(maps.slots.fd, KEY, "compared")  #     r0 = its slot
        if least_busy:
            _add_load(do)
        _add_age(do)
        do.minimum(R7, R6, R1)
    do.label("compared")
    do.load(DOUBLE, R6, FRAME, _CONTEXT)
    do.mask(R7, INSTANCES - 1)  #                          the number of the member with the smallest key, or 0
    do.store(WORD, FRAME, KEY, R7)
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

    do.add(R3, -slots.PATIENCE)
    do.shift_left(R5, 1)
    do.move(R4, R3)
    do.subtract_register(R4, R5)
    do.shift_signed(R4, 63)
    do.invert(R4)  #                                       r4 = all ones if it is late ...
    do.set(R5, 0)
    do.subtract_register(R5, R2)
    do.mask_register(R4, R5)  #                            ... and there are requests in flight
    do.load(DOUBLE, R5, R0, slots.LONGEST)
    do.shift_left(R5, slots.FAR_BITS)
    do.subtract_register(R3, R5)
    do.at_least_zero(R3, R5)  #                            r3 = time for which it is silent for far longer than ever
    do.shift_right(R3, slots.MILLISECOND)
    do.add(R3, slots.LATE)
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
