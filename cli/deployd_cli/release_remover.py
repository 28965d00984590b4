"""Deletes release directories, also where another user could replace a directory on the way by a symbolic link."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import PurePosixPath

from deployd.errors import DeploydError

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def delete(release: str) -> None:
    """Delete a release, an absolute path without links. Raises DeploydError.

    It is renamed first, so that no rollout finds half of it if this is interrupted. The next call for a release of the
    same name deletes the rest.
    """
    path = PurePosixPath(release)
    hidden = f".{path.name}.deleted"
    try:
        with _opened(path.parent) as parent:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(hidden, dir_fd=parent)
            os.rename(path.name, hidden, src_dir_fd=parent, dst_dir_fd=parent)
            shutil.rmtree(hidden, dir_fd=parent)
    except OSError as error:
        raise DeploydError(f"{release} cannot be deleted: {error.strerror or error}") from None


@contextlib.contextmanager
def _opened(directory: PurePosixPath) -> Iterator[int]:
    """Open a directory from the root on, through no symbolic link."""
    descriptor = os.open("/", _FLAGS)
    try:
        for name in directory.parts[1:]:
            following = os.open(name, _FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        yield descriptor
    finally:
        os.close(descriptor)
