"""Loads an eBPF program into the kernel (bpf(2), BPF_PROG_LOAD)."""

from __future__ import annotations

import ctypes
import struct
from enum import IntEnum

from deployd.errors import SteeringError
from deployd.reuseport import syscalls

PROG_LOAD = 5


class Kind(IntEnum):
    """The members of enum bpf_prog_type that are used."""

    SOCKET_FILTER = 1
    SK_REUSEPORT = 21


def load(kind: Kind, name: str, code: bytes, attach_type: int = 0) -> int:
    """Load a program and return its file descriptor. Raises OSError."""
    return _load(kind, name, code, attach_type, None)


def refused(kind: Kind, name: str, code: bytes, error: OSError) -> SteeringError:
    """Return the error for a program that was refused, with the last lines of the verifier, if any."""
    log = ctypes.create_string_buffer(64 * 1024)
    try:
        # Load it again, so that a log is written only if it is read.
        _load(kind, name, code, 0, log)
    except OSError as again:
        error = again
    said = log.value.decode(errors="replace").strip().splitlines()
    words = f" (the verifier says: {' / '.join(said[-3:])})" if said else ""
    return SteeringError(f"cannot load the steering program into the kernel: {error.strerror}{words}")


def _load(kind: Kind, name: str, code: bytes, attach_type: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
    held = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    request = _Load(
        kind=kind,
        instructions=len(code) // struct.calcsize("=BBhi"),
        code=ctypes.addressof(held),
        licence=ctypes.addressof(licence),
        log_level=0 if log is None else 1,
        log_size=0 if log is None else len(log),
        log=0 if log is None else ctypes.addressof(log),
        name=name.encode(),
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
