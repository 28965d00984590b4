"""Directories that other users cannot replace by symbolic links, so that the caller writes only where it says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from deployd.errors import DeploydError, Refused

ROOT = 0


def require_trusted(releases: Path) -> None:
    """Raise Refused if root would write where another user could replace a directory by a link meanwhile."""
    if os.geteuid() != ROOT:
        return
    try:
        found = releases.resolve(strict=True)
    except OSError as error:
        raise DeploydError(f"{releases} cannot be used: {error.strerror}; name a directory that exists") from None
    if (other := _of_others(found)) is not None:
        raise Refused(f"{other} can be changed by another user than root; deploy as that user, or give it to root")


def require_own(directory: Path, key: str) -> None:
    """Raise Refused if another user than root and the caller could replace the directory by a link, and DeploydError.

    It need not exist; `key` names it in the app file.
    """
    try:
        found = directory.resolve()
    except (OSError, RuntimeError) as error:
        raise DeploydError(f"{directory} cannot be used: {error}") from None
    if (other := _of_others(found)) is not None:
        raise Refused(
            f"{other}, for {key}, can be changed by another user; give it to the user who deploys, and chmod go-w it"
        )


def _of_others(directory: Path) -> Path | None:
    """Return the directory, or one above it, that another user than root and the caller can change, or None. Those that
    do not exist are left out."""
    for item in (directory, *directory.parents):
        try:
            info = item.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DeploydError(f"{item} cannot be used: {error.strerror}") from None
        others = info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and info.st_gid != os.getegid())
        if info.st_uid not in (ROOT, os.geteuid()) or (others and not info.st_mode & stat.S_ISVTX):
            return item
    return None
