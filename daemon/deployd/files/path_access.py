"""What a user could see of the file system: that user must be able to search each directory on the way to a path.

Blocks if the file system does, so it must not run in the event loop.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from deployd.files.permission import ACL, EXECUTE, READ, Inode, permitted
from deployd.files.walk import Step, walk


@dataclass(frozen=True, slots=True)
class Found:
    """The file that a path leads to."""

    path: str
    """Without symbolic links."""
    inode: Inode

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.inode.mode)


@dataclass(frozen=True, slots=True)
class PathAccess:
    """The access of one user with its groups."""

    uid: int
    groups: frozenset[int]

    def find(self, path: str) -> Found:
        """Follow an absolute path, including symbolic links, to its file.

        Raises OSError as the system calls of that user would: PermissionError if the user may not search a directory on
        the way, whether or not the rest of the path exists.
        """
        if "\0" in path or not path.startswith("/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        way = _Way(self)
        try:
            with walk(path, way) as found:
                return Found(found.path, _inode(found))
        except OSError:
            if way.closed:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path) from None
            raise

    def may_read(self, path: str) -> bool:
        """True if the user can open the file for reading."""
        return self._may(path, READ)

    def may_list(self, path: str) -> bool:
        """True if the user can list the directory and stat its entries."""
        return self._may(path, READ | EXECUTE)

    def permits(self, inode: Inode, want: int) -> bool:
        return permitted(inode, self.uid, self.groups, want)

    def _may(self, path: str, want: int) -> bool:
        try:
            return self.permits(self.find(path).inode, want)
        except OSError:
            return False


class _Way:
    """A `Check` that stops at the first directory that the user may not search."""

    def __init__(self, access: PathAccess) -> None:
        self._access = access
        # Its links bypass the mode bits (the kernel checks the rights of ptrace(2)), and /proc/self is the daemon.
        self._process_files = _device("/proc")
        self.closed = False
        """True if the walk has reached such a directory."""

    def __call__(self, step: Step) -> None:
        if self.closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), step.path)
        if step.is_directory:
            own = step.info.st_dev == self._process_files
            self.closed = own or not self._access.permits(_inode(step), EXECUTE)


def _inode(step: Step) -> Inode:
    acl = None
    # Through /proc, because a descriptor opened with O_PATH gives no access to extended attributes.
    if not step.is_symlink:
        try:
            acl = os.getxattr(f"/proc/self/fd/{step.descriptor}", ACL)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                raise
    return Inode(step.info.st_uid, step.info.st_gid, step.info.st_mode, acl)


def _device(path: str) -> int | None:
    try:
        return Path(path).stat().st_dev
    except OSError:
        return None
