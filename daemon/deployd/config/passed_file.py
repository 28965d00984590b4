"""Files whose contents are passed to the app: environment files and credentials.

They are read as root, following symlinks, so only root may be able to write the directories above them. The app's user
may write the files themselves, but not everybody.
"""

from __future__ import annotations

import os
import stat

from deployd.config.source import Problem
from deployd.config.trust import require_file, require_trusted
from deployd.files.walk import Step, walk


def read(path: str, size: int) -> bytes:
    """Read the first `size` bytes of the file. Raises OSError and Problem."""
    with walk(path, require_trusted_directory) as found:
        require_file(found)
        if found.info.st_mode & stat.S_IWOTH:
            raise Problem(f"is not trusted, because everybody can write {found.path}; chmod o-w it")
        with os.fdopen(found.reopen(), "rb") as file:
            return file.read(size)


def require_trusted_directory(step: Step) -> None:
    """A `Check` that raises Problem unless only trusted users can write the directory; files pass."""
    if step.is_directory:
        require_trusted(step)
