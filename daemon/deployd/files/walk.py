"""Walks a path one component at a time, each opened with O_PATH and O_NOFOLLOW: what is checked is what is used.

Paths of apps may lie in directories of other users, who can swap a directory for a symlink or a FIFO at any time. The
same name may refer to two files if it is opened twice; a descriptor cannot. Symlinks are followed here rather than by
the kernel, so that the owner of each is known.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

MOST_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""
ROOT = 0
OWN = os.geteuid()
"""The user as which deployd runs: root, or in user mode another one."""
TRUSTED = frozenset({ROOT, OWN})
"""The users whose files deployd believes."""
_ACL = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class Step:
    """One component of a path."""

    path: str
    """Contains no symlink, except perhaps the last component."""
    descriptor: int
    """Opened with O_PATH; valid while the step is checked, that of the last step until the walk ends."""
    info: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.info.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    def has_acl(self) -> bool:
        """True if there is an access control list beyond the mode, acl(5)."""
        try:
            return bool(os.getxattr(f"/proc/self/fd/{self.descriptor}", _ACL))
        except OSError:
            return False  # no ACL, or a file system without ACLs

    def reopen(self) -> int:
        """Open this very file for reading. Does not block on a FIFO or device, but refuse those before."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{self.descriptor}", flags)


Check = Callable[[Step], None]
"""Called for each component, beginning with /, symlinks included. Raises to refuse it."""


@contextmanager
def walk(path: str, check: Check) -> Iterator[Step]:
    """Open the file that the absolute `path` leads to. Raises OSError, and what `check` raises."""
    pending = _parts(path)
    links = 0
    here = _root()
    try:
        check(here)
        while pending:
            step = _enter(here, pending.pop())
            try:
                check(step)
                target = os.readlink("", dir_fd=step.descriptor) if step.is_symlink else None
            except BaseException:
                os.close(step.descriptor)
                raise
            if target is None:
                os.close(here.descriptor)
                here = step
                continue
            os.close(step.descriptor)
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            pending += _parts(target)
            if target.startswith("/"):
                os.close(here.descriptor)
                here = _root()
        yield here
    finally:
        os.close(here.descriptor)


class LinkOwners:
    """A `Check` that a symlink leads only through directories that its owner may search.

    Otherwise a user could have the daemon reveal the contents of directories that the user may not search.
    """

    def __init__(self) -> None:
        self._owners: set[int] = set()

    def __call__(self, step: Step) -> None:
        if step.is_symlink and step.info.st_uid != ROOT:
            self._owners.add(step.info.st_uid)
        for owner in self._owners if step.is_directory else ():
            if _is_closed(step, owner):
                raise OSError(
                    errno.EACCES, f"a symlink of user {user_name(owner)} leads into {step.path}, closed to that user"
                )


def trusted_links(step: Step) -> None:
    """A `Check` for a path that contained no symlink when it was recorded: a new one must be of a trusted user."""
    if step.is_symlink and step.info.st_uid not in TRUSTED:
        raise OSError(errno.ELOOP, f"{step.path} is now a symlink of user {user_name(step.info.st_uid)}")


def no_links(step: Step) -> None:
    """A `Check` that refuses every symlink."""
    if step.is_symlink:
        raise OSError(errno.ELOOP, f"{step.path} is a symlink")


def user_name(uid: int) -> str:
    """Return the name of a user, or the number if it has none."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _parts(path: str) -> list[str]:
    """Return the components in reverse order."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _root() -> Step:
    descriptor = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return Step("/", descriptor, os.fstat(descriptor))


def _enter(here: Step, name: str) -> Step:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # O_DIRECTORY triggers an automount, which O_PATH alone does not (open(2)).
        descriptor = os.open(name, flags | os.O_DIRECTORY, dir_fd=here.descriptor)
    except NotADirectoryError:
        descriptor = os.open(name, flags, dir_fd=here.descriptor)
    path = os.path.dirname(here.path) if name == ".." else os.path.join(here.path, name)  # noqa: PTH118, PTH120
    return Step(path, descriptor, os.fstat(descriptor))


def _is_closed(directory: Step, uid: int) -> bool:
    """True if the mode of the directory does not let the user search it."""
    mode = directory.info.st_mode
    if directory.info.st_uid == uid:
        return not mode & stat.S_IXUSR
    if mode & stat.S_IXOTH:
        return False
    return not (mode & stat.S_IXGRP and (directory.has_acl() or directory.info.st_gid in _groups(uid)))


def _groups(uid: int) -> frozenset[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
