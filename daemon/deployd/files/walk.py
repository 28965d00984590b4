"""Walks a path one component at a time, each opened with O_PATH and never followed: what is checked is what is used.

Paths of apps lie in directories of others, who may swap a directory for a symlink or a FIFO at any moment. A name that
is looked at twice can be two files; a descriptor cannot. Symlinks are followed here, not by the kernel, so that the
owner of each is known.
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
_ACL = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class Step:
    """One component of a path."""

    path: str
    """Without a symlink in it, the last component apart."""
    descriptor: int
    """Opened with O_PATH, valid while the step is looked at; that of the last step, as long as the walk lasts."""
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
        """True if an access control list says more than the mode, acl(5)."""
        try:
            return bool(os.getxattr(f"/proc/self/fd/{self.descriptor}", _ACL))
        except OSError:
            return False  # none, or a file system that has none

    def reopen(self) -> int:
        """Open this very file for reading. A FIFO or device never blocks, but refuse it first."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{self.descriptor}", flags)


Look = Callable[[Step], None]
"""Called for each component, from / on, symlinks included. Raises what it finds wrong."""


@contextmanager
def walk(path: str, look: Look) -> Iterator[Step]:
    """Open what the absolute `path` leads to. Raises OSError, and what `look` raises."""
    pending = _parts(path)
    links = 0
    here = _root()
    try:
        look(here)
        while pending:
            step = _enter(here, pending.pop())
            try:
                look(step)
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
    """A `Look`: a symlink leads no further than its owner could go.

    Otherwise a user could have the daemon tell what lies in directories that are closed to that user.
    """

    def __init__(self) -> None:
        self._owners: set[int] = set()

    def __call__(self, step: Step) -> None:
        if step.is_symlink and step.info.st_uid != ROOT:
            self._owners.add(step.info.st_uid)
        for owner in self._owners if step.is_directory else ():
            if _is_closed(step, owner):
                raise OSError(
                    errno.EACCES, f"a symlink of user {user_name(owner)} leads into {step.path}, closed to it"
                )


def roots_links(step: Step) -> None:
    """A `Look`, for a path that had no symlink when it was recorded: one that came since must be root's."""
    if step.is_symlink and step.info.st_uid != ROOT:
        raise OSError(errno.ELOOP, f"{step.path} is a symlink of user {user_name(step.info.st_uid)} now")


def no_links(step: Step) -> None:
    """A `Look` that refuses every symlink."""
    if step.is_symlink:
        raise OSError(errno.ELOOP, f"{step.path} is a symlink")


def user_name(uid: int) -> str:
    """The name of a user for a sentence, the number if it has none."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _parts(path: str) -> list[str]:
    """The components, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _root() -> Step:
    descriptor = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return Step("/", descriptor, os.fstat(descriptor))


def _enter(here: Step, name: str) -> Step:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # O_DIRECTORY has an automount point mounted, which O_PATH alone does not (open(2)).
        descriptor = os.open(name, flags | os.O_DIRECTORY, dir_fd=here.descriptor)
    except NotADirectoryError:
        descriptor = os.open(name, flags, dir_fd=here.descriptor)
    path = os.path.dirname(here.path) if name == ".." else os.path.join(here.path, name)  # noqa: PTH118, PTH120
    return Step(path, descriptor, os.fstat(descriptor))


def _is_closed(directory: Step, uid: int) -> bool:
    """True if the mode of the directory says that the user cannot enter it."""
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
