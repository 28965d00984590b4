"""Writes a file: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from deployd.errors import DeploydError, Refused

MODE = 0o644


def write(path: Path, contents: str | bytes, *, replace: bool, mode: int = MODE) -> None:
    """Write a file, by default one that all users may read. Raises DeploydError if that is not possible, and Refused if
    there is one, unless `replace`."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise DeploydError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents.encode() if isinstance(contents, str) else contents)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if replace:
            os.rename(temporary, path)  # noqa: PTH104
        else:
            os.link(temporary, path)  # unlike rename(2), it fails if the file exists
    except FileExistsError:
        raise Refused(f"{path} exists already; edit it, or replace it with --force") from None
    except OSError as error:
        raise DeploydError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
    _sync(path.parent)


def _sync(directory: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
