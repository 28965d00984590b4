"""Ownership checks. The daemon carries out what an app file says as root, so only root may be able to write it.

In user mode the daemon runs as a user, and that user may write the file as well.

This applies to the file, to each directory above it and to everything a symlink leads through, because a user that may
write a directory can replace a file in it. `passed_file` has a weaker rule for environment files and credentials.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Callable
from pathlib import Path

from deployd.config.source import Problem
from deployd.files.walk import OWN, ROOT, TRUSTED, Step, user_name, walk

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read(path: Path, size: int) -> bytes:
    """Read the first `size` bytes of a file that only trusted users can write. Raises OSError and Problem."""
    with walk(str(path), require_trusted) as found:
        require_file(found)
        with os.fdopen(found.reopen(), "rb") as file:
            return file.read(size)


def require_trusted(step: Step) -> None:
    """A `Check` that raises Problem unless only trusted users can write the file or directory."""
    if not step.is_symlink and (wrong := writable(step.path, step.info, step.has_acl)):
        raise Problem(f"is not trusted, because {wrong}")


def writable(path: str, info: os.stat_result, has_acl: Callable[[], bool]) -> str:
    """Return a phrase about which user that is not trusted can write the file and how to change that; "" if none can.

    The sticky bit does not help, because it does not prevent the creation of files.
    """
    mode = stat.S_IMODE(info.st_mode)
    if info.st_uid not in TRUSTED:
        what = f"{path} belongs to user {user_name(info.st_uid)} (mode {mode:04o})"
        return f"{what}; chown {user_name(OWN)} and chmod go-w it"
    whose = f"{user_name(info.st_uid)}'s, mode {mode:04o}"
    if mode & stat.S_IWOTH:
        return f"everybody can write {path} ({whose}); chmod go-w it"
    if mode & stat.S_IWGRP and has_acl():
        return f"an access control list lets others write {path} ({whose}); setfacl -b and chmod go-w it"
    if mode & stat.S_IWGRP and info.st_gid != ROOT:
        return f"group {_group_name(info.st_gid)} can write {path} ({whose}); chmod go-w it"
    return ""


def require_file(found: Step) -> None:
    """Raise Problem unless `found` is a regular file."""
    if not found.is_file:
        kind = next((name for check, name in _KINDS if check(found.info.st_mode)), "no file")
        raise Problem(f"is {kind}, not a regular file; remove it")


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
