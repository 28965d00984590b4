"""The regular files below a path in a release, which may belong to a user who changes it meanwhile: no symbolic link is
followed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ReleaseFiles:
    """The files in `directory`, a path in a release; none if it is no directory, or lies behind a symbolic link."""

    def __init__(self, release: Path, directory: str) -> None:
        self._release = release
        self._directory = directory

    def paths(self) -> frozenset[str]:
        """Return their paths in the directory. Raises OSError."""
        return frozenset(path for path, _, _ in self._found())

    def opened(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Yield path and contents of each, open until the next is wanted. Raises OSError."""
        for path, name, descriptor in self._found():
            with os.fdopen(os.open(name, _FLAGS, dir_fd=descriptor), "rb") as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # it may have been replaced
                    yield path, file

    def _found(self) -> Iterator[tuple[str, str, int]]:
        """Yield the path of each file, its name, and the directory that contains it."""
        with contextlib.ExitStack() as stack:
            top = self._opened(stack)
            if top is None:
                return
            for directory, _, names, descriptor in os.fwalk(".", dir_fd=top):
                for name in names:
                    if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                        yield os.path.normpath(f"{directory}/{name}"), name, descriptor

    def _opened(self, stack: contextlib.ExitStack) -> int | None:
        descriptor = None
        try:
            for name in (str(self._release), *self._directory.split("/")):
                descriptor = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=descriptor)
                stack.callback(os.close, descriptor)
        except OSError:
            return None
        return descriptor
