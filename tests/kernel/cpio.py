"""An archive from which the kernel makes its first root (the kernel's Documentation/driver-api/early-userspace)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"070701"
_END = "TRAILER!!!"


class Archive:
    """Writes files into an archive, with the directories that lead to them. All belong to root."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._names: set[str] = set()

    def add(self, path: Path, to: str | Path | None = None) -> None:
        """Add a file of this machine under the absolute path `to`, or its own. Symlinks are followed. Only the first
        file of a path counts."""
        info = path.stat()
        self.add_bytes(to or path, path.read_bytes(), stat.S_IMODE(info.st_mode), int(info.st_mtime))

    def add_bytes(self, to: str | Path, content: bytes, mode: int = 0o644, mtime: int = 0) -> None:
        if name := self._new(to):
            self._write(name, stat.S_IFREG | mode, content, mtime)

    def add_directory(self, to: str | Path) -> None:
        if name := self._new(to):
            self._write(name, stat.S_IFDIR | 0o755)

    def add_character_device(self, to: str | Path, major: int, minor: int) -> None:
        if name := self._new(to):
            self._write(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def close(self) -> None:
        self._write(_END, 0)

    def _new(self, to: str | Path) -> str:
        """Return the name of an entry without the leading "/", or "" if it is there already."""
        name = os.path.normpath(to).lstrip("/")
        if name in self._names | {""}:
            return ""
        self.add_directory(Path("/", name).parent)
        self._names.add(name)
        return name

    def _write(
        self, name: str, mode: int, content: bytes = b"", mtime: int = 0, device: tuple[int, int] = (0, 0)
    ) -> None:
        encoded = name.encode() + b"\0"
        number, uid, gid, links, check = len(self._names), 0, 0, 1, 0
        fields = (number, mode, uid, gid, links, mtime, len(content), 0, 0, *device, len(encoded), check)
        self._file.write(_MAGIC + b"".join(b"%08X" % field for field in fields) + encoded)
        self._pad()
        self._file.write(content)
        self._pad()

    def _pad(self) -> None:
        self._file.write(bytes(-self._file.tell() % 4))
