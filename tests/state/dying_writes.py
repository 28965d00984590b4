"""Helper of test_history: a process that is killed at the K-th change that SQLite makes to a file, for every K.

    python -m tests.state.dying_writes DIRECTORY whole|torn

leaves a database in DIRECTORY/K for each, and prints K, the number of operations that had returned, and the exit
status; the last process completes. Of a torn write only half is written. SQLite's unix VFS allows to replace its system
calls one by one (sqlite3_vfs.xSetSystemCall). As fsync changes no file, being killed before it equals being killed
after the write before it.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from deployd.state.history import History
from tests.state.four_rollouts import OPERATIONS

LONG, INT, POINTER = ctypes.c_int64, ctypes.c_int, ctypes.c_void_p
WRITES = {"write": (LONG, INT, POINTER, ctypes.c_size_t), "pwrite": (LONG, INT, POINTER, ctypes.c_size_t, LONG)}
WRITES["pwrite64"] = WRITES["pwrite"]
OTHERS = {"ftruncate": (INT, INT, LONG), "unlink": (INT, ctypes.c_char_p)}
CREATE = {"open": (INT, ctypes.c_char_p, INT, INT)}


class Vfs(ctypes.Structure):
    """sqlite3_vfs of sqlite3.h, version 3."""


Vfs._fields_ = [
    ("version", INT),
    ("file_size", INT),
    ("longest_path", INT),
    ("next", POINTER),
    ("name", ctypes.c_char_p),
    ("data", POINTER),
    *((f"method{number}", POINTER) for number in range(13)),
    ("set_system_call", ctypes.CFUNCTYPE(INT, ctypes.POINTER(Vfs), ctypes.c_char_p, POINTER)),
    ("get_system_call", ctypes.CFUNCTYPE(POINTER, ctypes.POINTER(Vfs), ctypes.c_char_p)),
    ("next_system_call", POINTER),
]


class Counter:
    """Counts changes to files, and kills the process at change number `fatal`."""

    def __init__(self, fatal: int, torn: bool) -> None:
        self.left = fatal
        self.torn = torn
        self.kept: list[object] = []  # C code has pointers to these

    def install(self) -> None:
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        library.sqlite3_vfs_find.restype = ctypes.POINTER(Vfs)
        vfs = library.sqlite3_vfs_find(None)
        for name, (result, *arguments) in {**WRITES, **OTHERS, **CREATE}.items():
            kind = ctypes.CFUNCTYPE(result, *arguments, use_errno=True)
            address = vfs.contents.get_system_call(vfs, name.encode())
            if not address:
                continue  # not on this platform
            replacement = kind(self.wrapped(name, kind(address)))
            self.kept.append(replacement)
            if vfs.contents.set_system_call(vfs, name.encode(), ctypes.cast(replacement, POINTER)):
                raise RuntimeError(f"SQLite has no {name} to replace")

    def wrapped(self, name: str, real: Callable[..., int]) -> Callable[..., int]:
        def system_call(*arguments: Any) -> int:
            if name != "open" or (arguments[1] & os.O_CREAT and not Path(os.fsdecode(arguments[0])).exists()):
                self.left -= 1
                if self.left == 0:
                    if self.torn and name in WRITES:
                        descriptor, data, size, *place = arguments
                        real(descriptor, data, size // 2, *place)
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return system_call


def die(directory: Path, fatal: int, torn: bool, returned: int) -> None:
    """Run the operations until change number `fatal`; write to `returned` after each operation that returned."""
    counter = Counter(fatal, torn)
    counter.install()
    history = History(directory)
    history.open()
    for operation in OPERATIONS:
        operation(history)
        os.write(returned, b".")
    history.close()
    os._exit(0)  # SQLite must not call the replaced functions after they have been freed


def main() -> None:
    directory, torn = Path(sys.argv[1]), sys.argv[2] == "torn"
    status = -1
    for fatal in count(1):
        own = directory / str(fatal)
        own.mkdir()
        reading, writing = os.pipe()
        if not (child := os.fork()):
            die(own, fatal, torn, writing)
        os.close(writing)
        with os.fdopen(reading) as returned:
            operations = len(returned.read())
        _, status = os.waitpid(child, 0)
        print(fatal, operations, os.waitstatus_to_exitcode(status), flush=True)
        if status != signal.SIGKILL:
            break


if __name__ == "__main__":
    main()
