"""The changes that deployd makes to file systems, each of them atomic. Imports errors only.

`pins`, `records` and units/directory.py write through this module, so that tests can inject a failure or a loss of
power between any two steps. The order matters: the contents of a file reach the disk before its name does (fsync, then
rename), and the name before the caller continues (fsync of the directory).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployd.errors import StateError

_REASONS = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the disk quota is used up; make room",
    errno.EROFS: "the file system is read-only; remount it, or see ReadWritePaths= of deployd.service",
    errno.EACCES: "permission denied; let the user of deployd write there",
    errno.EPERM: "not permitted; let the user of deployd write there",
    errno.EIO: "the disk reports an error; see the kernel's log",
}


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Turn an OSError into a `StateError`, "cannot WHAT: REASON"."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StateError(f"cannot {what}: {reason}") from error


class Disk:
    """The system calls; subclasses in tests override them."""

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Create `path`, which must not exist, and wait until its contents are on the disk."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode & 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            # Independent of the umask, and never more permissive than in the end.
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)

    def symlink(self, target: str, path: Path) -> None:
        """Create the symlink `path`, which must not exist."""
        path.symlink_to(target)

    def directory(self, path: Path, mode: int = 0o755) -> None:
        """Create the directory `path`, which must not exist."""
        path.mkdir(mode=0o700)
        path.chmod(mode)

    def rename(self, old: Path, new: Path) -> None:
        """Give `old` the name `new`, atomically; replaces a file, a symlink or an empty directory."""
        old.replace(new)

    def sync(self, directory: Path) -> None:
        """Wait until the names in `directory` are on the disk."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file, a symlink or a directory tree, if it exists."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def directories(self, path: Path, mode: int = 0o755) -> None:
        """Create `path` and its missing parents, each synced to the disk before the next."""
        missing = [directory for directory in (path, *path.parents) if not directory.is_dir()]
        for directory in reversed(missing):
            self.directory(directory, mode)
            self.sync(directory.parent)

    def replace(self, path: Path, data: bytes, mode: int) -> None:
        """Replace the contents of `path` atomically."""
        temporary = path.with_name(f".{path.name}.new")
        try:
            self.remove(temporary)
            self.write(temporary, data, mode)
            self.rename(temporary, path)
        except OSError:
            self._forget(temporary)
            raise
        self.sync(path.parent)

    def point(self, path: Path, target: str) -> None:
        """Point the symlink `path` to `target`, atomically. The caller syncs its directory."""
        temporary = path.with_name(f".{path.name}.new")
        try:
            self.remove(temporary)
            self.symlink(target, temporary)
            self.rename(temporary, path)
        except OSError:
            self._forget(temporary)
            raise

    def _forget(self, temporary: Path) -> None:
        try:
            self.remove(temporary)
        except OSError:
            # The first error is the one to report; the next write of this name removes the leftover.
            return
