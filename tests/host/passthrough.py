"""A FUSE file system that shows a directory read-only at another path: a network mount that a test can hang.

    python3 passthrough.py SOURCE TARGET

Runs on a host with the standard library only, and prints READY when it is mounted. Stopped with SIGSTOP it does not
respond, like an NFS server that is down; after SIGCONT pending requests get their replies. Nothing is cached, so that
each access needs a reply. See include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path

DEVICE = "/dev/fuse"
MAJOR, MINOR = 7, 31
LARGEST = 1 << 20
ROOT_NODE = 1

Answer = Callable[[int, bytes], bytes]


class Passthrough:
    """Handles one request at a time."""

    def __init__(self, source: str, device: int) -> None:
        self._device = device
        self._paths = {ROOT_NODE: source}
        self._nodes = {source: ROOT_NODE}
        self._answers: dict[int, Answer] = {
            1: self._lookup,
            3: self._getattr,
            5: lambda node, _: bytes(Path(self._paths[node]).readlink()),
            14: lambda node, _: struct.pack("<QII", 0, 0, 0),
            15: self._read,
            17: lambda node, _: struct.pack("<5Q10I", 0, 0, 0, 0, 0, 4096, 255, 4096, *[0] * 7),
            18: lambda node, _: b"",
            25: lambda node, _: b"",
            26: lambda node, _: struct.pack("<4IHH2I2H8I", MAJOR, MINOR, 65536, 0, 16, 12, 4096, 1, 32, 0, *[0] * 8),
            27: lambda node, _: struct.pack("<QII", 0, 0, 0),
            28: self._readdir,
            29: lambda node, _: b"",
        }

    def serve(self) -> None:
        """Handle requests until it is unmounted."""
        while True:
            try:
                request = os.read(self._device, LARGEST + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                raise
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (2, 36, 42):  # FORGET, INTERRUPT, BATCH_FORGET have no reply
                continue
            code, body = 0, b""
            try:
                answer = self._answers.get(opcode)
                if answer is None:
                    raise OSError(errno.ENOSYS, "")
                body = answer(node, request[40:])
            except OSError as error:
                code = -(error.errno or errno.EIO)
            with contextlib.suppress(FileNotFoundError):  # the requesting process was killed
                os.write(self._device, struct.pack("<IiQ", 16 + len(body), code, unique) + body)

    def _lookup(self, node: int, body: bytes) -> bytes:
        path = f"{self._paths[node]}/{os.fsdecode(body.rstrip(bytes(1)))}"
        attributes = _attributes(path)
        child = self._nodes.setdefault(path, len(self._nodes) + ROOT_NODE)
        self._paths[child] = path
        return struct.pack("<4Q2I", child, 0, 0, 0, 0, 0) + attributes

    def _getattr(self, node: int, _: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + _attributes(self._paths[node])

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        with Path(self._paths[node]).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for number, name in enumerate(sorted(Path(self._paths[node]).iterdir()), 1):
            raw = os.fsencode(name.name)
            item = struct.pack("<QQII", number, number, len(raw), 0) + raw
            item += bytes(-len(item) % 8)
            if number > offset and len(found) + len(item) <= size:
                found += item
        return found


def _attributes(path: str) -> bytes:
    info = os.lstat(path)
    times = [info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns]
    return struct.pack(
        "<6Q10I",
        info.st_ino,
        info.st_size,
        info.st_blocks,
        *(time // 10**9 for time in times),
        *(time % 10**9 for time in times),
        info.st_mode,
        info.st_nlink,
        info.st_uid,
        info.st_gid,
        0,
        4096,
        0,
    )


def main() -> None:
    """Mount and serve the file system."""
    source, target = sys.argv[1:]
    if not Path(DEVICE).exists():
        os.mknod(DEVICE, stat.S_IFCHR | 0o600, os.makedev(10, 229))
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"passthrough", os.fsencode(target), b"fuse.passthrough", 1, options.encode()):  # MS_RDONLY
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    print("READY", flush=True)
    Passthrough(source, device).serve()


if __name__ == "__main__":
    main()
