"""Paths of a release that all releases share: symbolic links to files and directories next to the releases."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deployd.errors import DeploydError, Refused
from deployd_cli import directories


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    path: str
    """In the release."""
    target: str
    """An absolute path."""


def links(shared: Iterable[str], directory: str) -> tuple[Link, ...]:
    """Return the links of a release; `directory` has what they lead to, each under the path of the link. Pure."""
    return tuple(Link(path, f"{directory}/{path}") for path in shared)


def require_targets(wanted: Sequence[Link], user: str) -> None:
    """Raise Refused unless all that the links lead to is there. It is not made: whether it is to be a file or a
    directory, and of which user, only the administrator knows."""
    missing = [link.target for link in wanted if not os.path.lexists(link.target)]
    if missing:
        verb, owner = "do" if len(missing) > 1 else "does", f"-o {user} " if user else ""
        raise Refused(
            f"{', '.join(missing)} of [deploy] shared {verb} not exist; make a file or a directory that the app can"
            f" use, as with: install -d {owner}{missing[0]}"
        )


def make(release: Path, wanted: Iterable[Link]) -> None:
    """Make the links, in place of what the release has under these paths. They may be there already.

    No symbolic link of the release is followed. Raises Refused and DeploydError.
    """
    for link in wanted:
        path = PurePosixPath(link.path)
        try:
            with directories.opened(release, path.parent, make=True) as parent:
                _make_one(parent, path.name, link.target)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refused(
                    f"{link.path} of [deploy] shared lies behind a file or a link of the release; name that instead"
                ) from None
            raise DeploydError(f"{release / path} cannot be made: {error.strerror}") from None


def _make_one(parent: int, name: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        info = os.lstat(name, dir_fd=parent)
        if stat.S_ISLNK(info.st_mode) and os.readlink(name, dir_fd=parent) == target:
            return
        if stat.S_ISDIR(info.st_mode):
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    os.symlink(target, name, dir_fd=parent)
