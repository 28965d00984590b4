"""Unpacks a tar archive, compressed or not, as files of the calling user."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from pathlib import Path
from typing import IO

from deployd.errors import DeploydError, Refused
from deployd_cli.delivery.entries import Entries

FILE, PROGRAM, DIRECTORY = 0o644, 0o755, 0o755
"""The modes of a release; of those in the archive only the executable bit counts."""
PIECE = 1 << 20


class _Digesting:
    """Reads a stream, and computes the SHA-256 of all that it has read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    def finish(self) -> str:
        """Read the rest; return the digest."""
        while self.read(PIECE):
            pass
        return self._digest.hexdigest()


def unpack(stream: IO[bytes], directory: Path, *, built: bool = False) -> str:
    """Unpack an archive into an empty directory; return the SHA-256 of the archive.

    One that was `built` keeps the times of its files, by which compiled code is compared with its source, and its links
    may lead to programs outside. Raises Refused for an archive that is damaged or would leave the directory, and
    DeploydError.
    """
    digesting, entries = _Digesting(stream), Entries(links_may_leave=built)
    try:
        with tarfile.open(fileobj=digesting, mode="r|*") as archive:  # type: ignore[call-overload]  # it needs read() only
            for entry in archive:
                path = _unpack_one(archive, entry, entries, directory)
                if built and path is not None and entry.isfile():
                    os.utime(path, (entry.mtime, entry.mtime))
        return digesting.finish()
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise Refused(f"the archive cannot be read: {error}; it must be tar, also with gzip, bzip2 or xz") from None
    except OSError as error:
        raise DeploydError(f"{directory} cannot be written: {error.strerror or error}") from None


def _unpack_one(archive: tarfile.TarFile, entry: tarfile.TarInfo, entries: Entries, directory: Path) -> Path | None:
    """Unpack an entry; return its path, or None for the directory itself."""
    place = entries.accept(entry)
    if place is None:
        return None
    path = directory / place
    parent = path if entry.isdir() else path.parent
    parent.mkdir(mode=DIRECTORY, parents=True, exist_ok=True)
    if entry.issym():
        path.symlink_to(entry.linkname)
    elif entry.islnk():
        path.hardlink_to(directory / entry.linkname)
    elif entry.isfile():
        mode = PROGRAM if entry.mode & 0o100 else FILE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            source = archive.extractfile(entry)
            if source is not None:
                shutil.copyfileobj(source, file, PIECE)
            os.fchmod(descriptor, mode)  # whatever the umask is
    return path
