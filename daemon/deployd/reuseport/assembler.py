"""eBPF machine code from Python: the few instructions that steering needs.

An eBPF program has registers r0 to r9 of 64 bits, the frame pointer r10 and a stack of 512 bytes below it. A call of
a kernel function takes its arguments in r1 to r5, which it destroys, and returns its result in r0; r6 to r9 are kept.
Source: the kernel's Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import struct

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, FRAME = range(11)

BYTE, HALF, WORD, DOUBLE = 0x10, 0x08, 0x00, 0x18
"""Sizes of 8, 16, 32 and 64 bits."""

# An operation is an instruction class, and within it a source (a number, K, or a register, X) and a code.
_LD, _LDX, _ST, _STX, _JMP, _ALU64 = 0x00, 0x01, 0x02, 0x03, 0x05, 0x07
_K, _X = 0x00, 0x08
_IMM, _MEM, _ATOMIC = 0x00, 0x60, 0xC0
_ADD, _SUB, _MUL, _OR, _AND, _LSH, _RSH, _XOR, _MOV, _ARSH = 0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0
_JA, _JEQ, _JGE, _JSET, _JNE, _JSGT, _CALL, _EXIT = 0x00, 0x10, 0x30, 0x40, 0x50, 0x60, 0x80, 0x90
_PSEUDO_MAP_FD = 1

# Functions of the kernel (bpf-helpers(7)).
MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, KTIME, LOAD_BYTES, SOCKET_COOKIE, LOAD_BYTES_FROM = 1, 2, 3, 5, 26, 46, 68
SELECT_LISTENER = 82


class Assembler:
    """Collects instructions; `code` is the program. Jumps lead forward, to labels that are set later."""

    def __init__(self) -> None:
        self._words: list[tuple[int, int, int, int, int]] = []  # operation, destination, source, offset, number
        self._labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def move(self, to: int, register: int) -> None:
        """to = register"""
        self._add(_ALU64 | _X | _MOV, to, register)

    def set(self, to: int, number: int) -> None:
        """to = number"""
        self._add(_ALU64 | _K | _MOV, to, number=number)

    def add(self, to: int, number: int) -> None:
        """to += number"""
        self._add(_ALU64 | _K | _ADD, to, number=number)

    def add_register(self, to: int, register: int) -> None:
        """to += register"""
        self._add(_ALU64 | _X | _ADD, to, register)

    def subtract_register(self, to: int, register: int) -> None:
        """to -= register"""
        self._add(_ALU64 | _X | _SUB, to, register)

    def multiply(self, to: int, number: int) -> None:
        """to *= number"""
        self._add(_ALU64 | _K | _MUL, to, number=number)

    def mask(self, to: int, number: int) -> None:
        """to &= number"""
        self._add(_ALU64 | _K | _AND, to, number=number)

    def mask_register(self, to: int, register: int) -> None:
        """to &= register"""
        self._add(_ALU64 | _X | _AND, to, register)

    def merge_register(self, to: int, register: int) -> None:
        """to |= register"""
        self._add(_ALU64 | _X | _OR, to, register)

    def flip(self, to: int, bits: int) -> None:
        """to ^= bits"""
        self._add(_ALU64 | _K | _XOR, to, number=bits)

    def invert(self, to: int) -> None:
        """to = ~to"""
        self.flip(to, -1)

    def shift_left(self, to: int, bits: int) -> None:
        """to <<= bits"""
        self._add(_ALU64 | _K | _LSH, to, number=bits)

    def shift_right(self, to: int, bits: int) -> None:
        """to >>= bits, filled with zeros"""
        self._add(_ALU64 | _K | _RSH, to, number=bits)

    def shift_signed(self, to: int, bits: int) -> None:
        """to >>= bits, filled with the sign"""
        self._add(_ALU64 | _K | _ARSH, to, number=bits)

    def load(self, size: int, to: int, address: int, offset: int = 0) -> None:
        """to = memory at the register `address` + offset"""
        self._add(_LDX | _MEM | size, to, address, offset)

    def store(self, size: int, address: int, offset: int, register: int) -> None:
        """memory at the register `address` + offset = register"""
        self._add(_STX | _MEM | size, address, register, offset)

    def store_number(self, size: int, address: int, offset: int, number: int) -> None:
        """memory at the register `address` + offset = number"""
        self._add(_ST | _MEM | size, address, 0, offset, number)

    def atomic_add(self, size: int, address: int, offset: int, register: int) -> None:
        """memory at the register `address` + offset += register, atomically"""
        self._add(_STX | _ATOMIC | size, address, register, offset, _ADD)

    def load_map(self, to: int, fd: int) -> None:
        """to = the map behind the file descriptor, which the kernel resolves when it loads the program"""
        self._add(_LD | _IMM | DOUBLE, to, _PSEUDO_MAP_FD, number=fd)
        self._add(0)  # the upper half of the number: an instruction of its own

    def look_up(self, fd: int, key: int, otherwise: str) -> None:
        """r0 = address of the value in a map, or jump. `key`: the offset on the stack of the value's key"""
        self.load_map(R1, fd)
        self.move(R2, FRAME)
        self.add(R2, key)
        self.call(MAP_LOOKUP)
        self.jump_if(R0, 0, otherwise)

    def call(self, function: int) -> None:
        """r0 = function(r1, ...)"""
        self._add(_JMP | _CALL, number=function)

    def jump(self, label: str) -> None:
        self._jump(_JMP | _JA, label)

    def jump_if(self, register: int, number: int, label: str) -> None:
        """jump if register == number"""
        self._jump(_JMP | _K | _JEQ, label, register, number=number)

    def jump_unless(self, register: int, number: int, label: str) -> None:
        """jump if register != number"""
        self._jump(_JMP | _K | _JNE, label, register, number=number)

    def jump_if_equal(self, register: int, other: int, label: str) -> None:
        """jump if register == other register"""
        self._jump(_JMP | _X | _JEQ, label, register, other)

    def jump_if_any(self, register: int, bits: int, label: str) -> None:
        """jump if one of these bits is set"""
        self._jump(_JMP | _K | _JSET, label, register, number=bits)

    def jump_if_positive(self, register: int, label: str) -> None:
        """jump if register > 0, as a signed number"""
        self._jump(_JMP | _K | _JSGT, label, register)

    def jump_if_greater(self, register: int, other: int, label: str) -> None:
        """jump if register > other register, as signed numbers"""
        self._jump(_JMP | _X | _JSGT, label, register, other)

    def jump_if_at_least(self, register: int, other: int, label: str) -> None:
        """jump if register >= other register"""
        self._jump(_JMP | _X | _JGE, label, register, other)

    def exit(self) -> None:
        """return r0"""
        self._add(_JMP | _EXIT)

    def label(self, name: str) -> None:
        """Have jumps to `name` lead to the next instruction. Raises ValueError if the label is set twice."""
        if name in self._labels:
            raise ValueError(f"label {name} is set twice")
        self._labels[name] = len(self._words)

    # Without branches, because the verifier follows each of them, and those of 64 instances in a row are too many.

    def at_least_zero(self, register: int, spare: int) -> None:
        """register = max(register, 0), as signed numbers"""
        self.move(spare, register)
        self.shift_signed(spare, 63)
        self.invert(spare)
        self.mask_register(register, spare)

    def at_most(self, register: int, number: int, spare: int) -> None:
        """register = min(register, number), as signed numbers"""
        self.add(register, -number)
        self.move(spare, register)
        self.shift_signed(spare, 63)
        self.mask_register(register, spare)
        self.add(register, number)

    def minimum(self, register: int, other: int, spare: int) -> None:
        """register = min(register, other register), as signed numbers less than 2**63 apart; `other` is destroyed"""
        self.subtract_register(other, register)
        self.move(spare, other)
        self.shift_signed(spare, 63)
        self.mask_register(other, spare)
        self.add_register(register, other)

    @property
    def code(self) -> bytes:
        """Return the program, eight bytes for each instruction. Raises ValueError for a jump to a label that is not
        set."""
        words = list(self._words)
        for place, label in self._jumps:
            if label not in self._labels:
                raise ValueError(f"label {label} is not set")
            operation, to, source, _, number = words[place]
            words[place] = (operation, to, source, self._labels[label] - place - 1, number)
        return b"".join(
            struct.pack("=BBhi", operation, source << 4 | to, offset, number)
            for operation, to, source, offset, number in words
        )

    def _jump(self, operation: int, label: str, register: int = 0, other: int = 0, number: int = 0) -> None:
        self._jumps.append((len(self._words), label))
        self._add(operation, register, other, number=number)

    def _add(self, operation: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> None:
        self._words.append((operation, to, source, offset, number))
