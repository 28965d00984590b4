"""The contents of credentials, which are read once for each generation, as those of environment files are.

Settings contain a digest of each: the contents stay in files that only root can read. Names in the credential store,
paths with specifiers, sockets and directories are left to systemd, which reads them at each start.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace

from deployd.config import passed_file
from deployd.config.source import Problem, one_line
from deployd.errors import Refused
from deployd.model import credential
from deployd.model.app import App

LARGEST = {"LoadCredential": 1024 * 1024, "LoadCredentialEncrypted": (1024 + 128) * 1024}
"""Bytes that systemd reads (creds-util.h)."""

Digest = Callable[[bytes], str]
"""Returns a text that is equal exactly for equal contents."""


def located(app: App) -> App:
    """Return the app with the paths of the credentials that belong to a generation, but without digests."""
    paths = dict.fromkeys(path for _, _, path in credential.of_files(app) if _is_captured(path))
    return replace(app, credentials=tuple((path, "") for path in paths))


def capture_credentials(app: App, digest: Digest) -> App:
    """Return the app, and its process types, with digests of the present contents of their credentials.

    Raises Refused for a file that is missing, although the credential has no default, for one that other users could
    replace, and for one that is too large for systemd.
    """
    found, default = {path: "" for path, _ in located(app).credentials}, credential.with_default(app)
    for key, name, path in credential.of_files(app):
        try:
            if path in found and (data := _read(path, LARGEST[key], optional=name in default)) is not None:
                found[path] = digest(data)
        except Problem as problem:
            raise Refused(one_line(f"{key} of {app.name}: {path} {problem}")) from None
    processes = tuple(capture_credentials(item, digest) for item in app.processes)
    return replace(app, credentials=tuple(found.items()), processes=processes)


def _read(path: str, largest: int, *, optional: bool) -> bytes | None:
    """Return the contents of the file; None if it is optional and missing. Raises Problem."""
    try:
        data = passed_file.read(path, largest + 1)
    except FileNotFoundError:
        if optional:
            return None
        raise Problem("does not exist; create it, or give the credential a default with SetCredential") from None
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror}; correct that first") from None
    if len(data) > largest:
        raise Problem(f"is larger than {largest // 1024} KiB, the most that systemd reads; make it smaller")
    return data


def _is_captured(path: str) -> bool:
    """True for a regular file, and for one that is missing or cannot be read."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - it is absolute
    except OSError:
        return True
