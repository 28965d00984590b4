"""bpf(2) and pidfd_getfd(2), which Python's library does not have, by their numbers."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass

from deployd.errors import SteeringError


@dataclass(frozen=True, slots=True)
class Numbers:
    """System call numbers of a machine (syscalls(2); the kernel's syscall_64.tbl and asm-generic/unistd.h)."""

    bpf: int
    pidfd_getfd: int


NUMBERS = {"x86_64": Numbers(321, 438), "aarch64": Numbers(280, 438)}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def numbers(machine: str | None = None) -> Numbers:
    """Return the numbers of this machine, or of the named one. Raises SteeringError if they are not known."""
    machine = machine or platform.machine()
    if machine not in NUMBERS:
        raise SteeringError(f"no system call numbers are known for {machine}, only for {' and '.join(NUMBERS)}")
    return NUMBERS[machine]


def bpf(command: int, attributes: ctypes.Structure) -> int:
    """Call bpf(2). `attributes` is one of the structures of union bpf_attr. Raises OSError, SteeringError."""
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    return _call(numbers().bpf, ctypes.c_int(command), ctypes.byref(attributes), size)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """Duplicate a file descriptor of another process, close-on-exec. Raises OSError, SteeringError."""
    return _call(numbers().pidfd_getfd, ctypes.c_int(pidfd), ctypes.c_int(fd), ctypes.c_uint(0))


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
