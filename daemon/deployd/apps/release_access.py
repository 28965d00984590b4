"""Release directories that a caller may name or see: users other than root see those that they may list.

All functions read file systems, so the event loop must not call them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from deployd import config
from deployd.apps.caller import Caller
from deployd.config import values
from deployd.config.contents import contents
from deployd.config.credentials import Digest
from deployd.config.source import Problem
from deployd.errors import AccessDenied, InvalidRequest, Refused
from deployd.files.path_access import Found
from deployd.files.permission import EXECUTE, READ
from deployd.model.app import App

LONGEST_PATH = 4096
"""PATH_MAX."""


def checked(release: str) -> str:
    """Return a path that a caller named. Raises InvalidRequest, which quotes the path only if it is short and clean."""
    try:
        if len(os.fsencode(release)) > LONGEST_PATH:
            raise InvalidRequest(f"the release has a path of more than {LONGEST_PATH} bytes; name a shorter one")
        return values.path(release)
    except (Problem, UnicodeEncodeError) as problem:
        raise InvalidRequest(f"the release {config.one_line(release)!r} cannot be used: it {problem}") from None


def seen(caller: Caller, app: App, requested: str | None = None) -> tuple[str, str]:
    """Return the real directory of `requested`, or of the app's release, and the digest of its contents.

    Raises AccessDenied if the caller cannot list it, whether it exists or not; otherwise as resolve_release().
    """
    if caller.trusted:
        real = config.resolve_release(app, requested)
        return real, contents(real, app).digest
    real = seen_release(caller, app, requested)
    try:
        return real, contents(real, app).digest
    except Refused:
        raise _denied(caller, real) from None


def seen_release(caller: Caller, app: App, requested: str | None = None) -> str:
    """Return the directory as :func:`seen` does, without reading its contents."""
    if caller.trusted:
        return config.resolve_release(app, requested)
    path = checked(app.release if requested is None else requested)
    try:
        found = caller.files.find(path)
        if not found.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except PermissionError:
        raise _denied(caller, path) from None
    except OSError as error:
        raise Refused(f"the release {path} cannot be used: {error.strerror}; name a directory that exists") from None
    if not caller.files.permits(found.inode, READ | EXECUTE):
        raise _denied(caller, path)
    _see_programs(caller, app, found, path)
    # Errors from here on are not reported, since another directory may have taken the place of the one checked.
    with contextlib.suppress(Refused, InvalidRequest):
        if config.resolve_release(app, found.path) == found.path:
            return found.path
    raise _denied(caller, path)


def directory(caller: Caller, app: App) -> str:
    """Return the directory to which the release of the app file leads; "" if it leads to none, or the caller cannot see
    that."""
    if caller.trusted:
        return config.directory(app)
    with contextlib.suppress(AccessDenied, InvalidRequest, Refused):
        return seen_release(caller, app)
    return ""


def captured(caller: Caller, app: App, digest: Digest) -> App:
    """Return the app with the contents of its environment files and credentials. Other users than root do not learn
    what is wrong with them. Raises AccessDenied and Refused."""
    try:
        return config.capture_credentials(config.capture(app), digest)
    except Refused:
        if caller.trusted:
            raise
        raise AccessDenied(f"files that {app.name} starts with cannot be used; try again as root") from None


def _denied(caller: Caller, path: str) -> AccessDenied:
    return AccessDenied(f"{path} is not a directory that user {caller.uid} can list; try again as root")


def _see_programs(caller: Caller, app: App, release: Found, path: str) -> None:
    programs = (found for item in app.members for found in config.programs(item, release.path).items())
    for key, program in programs:
        try:
            inode = caller.files.find(program).inode
        except PermissionError:
            raise _denied(caller, path) from None
        except OSError as error:
            raise Refused(f"{key} of {app.name} names {program}: {error.strerror}; correct it or the release") from None
        if not stat.S_ISREG(inode.mode) or not inode.mode & 0o111:
            raise Refused(f"{key} of {app.name} names {program}, which is not an executable file; correct it")


def agreed(caller: Caller, app: App, known: Iterable[str], requested: str | None) -> str:
    """Return the real directory that an unprivileged caller wants to roll out; `known` are the releases of generations.

    Allowed are these, the app file's release, and directories next to them or in `releases` of the app file. Raises
    AccessDenied for others.
    """
    if requested is None:
        return os.path.realpath(app.release)
    path = checked(requested)
    releases = {os.path.realpath(item) for item in (app.release, *known)}
    own = {os.path.realpath(app.delivery.releases)} if app.delivery.releases else set()
    parents = {str(Path(item).parent) for item in releases} | own
    parents.discard("/")
    # Outside these parent directories, links are followed only as far as the caller can follow them.
    real = os.path.realpath(path) if str(Path(path).parent) in parents else _found(caller, path)
    if real not in releases and str(Path(real).parent) not in parents:
        places = ", ".join(sorted(parents)) or "no other directory"
        raise AccessDenied(
            f"{path} lies outside the directories of the releases of {app.name} ({places}); move it there, or roll it"
            " out as root"
        )
    return real


def _found(caller: Caller, path: str) -> str:
    try:
        return caller.files.find(path).path
    except OSError:
        return path
