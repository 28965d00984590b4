"""Opens directories of other users component by component, through no symbolic link."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import PurePath

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened(top: PurePath, below: PurePath, make: bool = False) -> Iterator[int]:
    """Open the directory `below` of `top`; with `make`, make what is missing of it. Raises OSError."""
    descriptor = os.open(top, _FLAGS)
    try:
        for name in below.parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=descriptor)
            following = os.open(name, _FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        yield descriptor
    finally:
        os.close(descriptor)
