"""A directory to make a release in, next to the finished ones and on their file system.

It is locked as long as the process lives. What a killed one has left is removed by the next, which can get its lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deployd.errors import DeploydError, Refused
from deployd_cli.delivery.ownership import require_trusted

PREFIX = ".deploy-"
PLACE = "place"
"""A symbolic link in a workspace: to the name of a release, whose empty directory it has made."""
UMASK = 0o022
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def workspace(releases: Path) -> Iterator[Path]:
    """Have a directory within the context that other users cannot enter. Raises Refused and DeploydError."""
    require_trusted(releases)
    os.umask(UMASK)  # users of the release read it, whatever the umask of the caller is
    _sweep(releases)
    try:
        directory, descriptor = _make(releases)
    except OSError as error:
        raise DeploydError(f"{releases} cannot be written: {error.strerror}; deploy as the user who owns it") from None
    try:
        yield directory
    finally:
        _remove(directory)
        os.close(descriptor)


@contextlib.contextmanager
def taken(directory: Path, name: str) -> Iterator[Path]:
    """Have an empty directory of this name next to a workspace within the context, unless a release replaces it.

    Raises Refused if there is one already, and DeploydError.
    """
    final, mark = directory.parent / name, directory / PLACE
    try:
        mark.symlink_to(name)
        final.mkdir()
    except FileExistsError:
        mark.unlink(missing_ok=True)
        raise Refused(
            f"{final} is an empty directory: another command deploys it at the moment; remove it if none does"
        ) from None
    except OSError as error:
        raise DeploydError(f"{final} cannot be made: {error.strerror}") from None
    try:
        yield final
    finally:
        with contextlib.suppress(OSError):  # it is a release now
            final.rmdir()


def _make(releases: Path) -> tuple[Path, int]:
    """Return a new directory and a descriptor that locks it. Raises OSError."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=releases))
        with contextlib.suppress(FileNotFoundError):  # another process has found it before it was locked
            descriptor = os.open(directory, _FLAGS)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if directory.exists():
                return directory, descriptor
            os.close(descriptor)


def _sweep(releases: Path) -> None:
    """Remove the workspaces of this user that are not locked."""
    with contextlib.suppress(OSError):  # the caller reports it
        for directory in releases.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # locked, or not ours
                descriptor = os.open(directory, _FLAGS)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(descriptor).st_uid == os.geteuid():
                        _remove(directory)
                finally:
                    os.close(descriptor)


def _remove(directory: Path) -> None:
    mark = directory / PLACE
    with contextlib.suppress(OSError):  # there is no mark, or the directory is a release now
        (directory.parent / mark.readlink().name).rmdir()
    shutil.rmtree(directory, ignore_errors=True)
