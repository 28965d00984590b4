"""Which release directories a caller may name, and which are shown to it: users other than root see what they may list.

Everything here looks at file systems: not for the event loop.
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
from deployd.config.source import Problem
from deployd.errors import AccessDenied, InvalidRequest, Refused
from deployd.files.path_access import Found
from deployd.files.permission import EXECUTE, READ
from deployd.model.app import App

LONGEST_PATH = 4096
"""PATH_MAX."""


def checked(release: str) -> str:
    """A path that a caller named. Raises InvalidRequest without quoting it, unless it is short and clean."""
    try:
        if len(os.fsencode(release)) > LONGEST_PATH:
            raise InvalidRequest(f"the release is a path of more than {LONGEST_PATH} bytes; give a shorter one")
        return values.path(release)
    except (Problem, UnicodeEncodeError) as problem:
        raise InvalidRequest(f"the release {config.one_line(release)!r} cannot be used: it {problem}") from None


def seen(caller: Caller, app: App, requested: str | None = None) -> tuple[str, str]:
    """The real directory of `requested`, or of the app's release, and the digest of its contents.

    Raises AccessDenied where the caller cannot list it, whether it is there or not; otherwise as resolve_release().
    """
    if caller.root:
        real = config.resolve_release(app, requested)
        return real, contents(real, app).digest
    real = seen_release(caller, app, requested)
    try:
        return real, contents(real, app).digest
    except Refused:
        raise _denied(caller, real) from None


def seen_release(caller: Caller, app: App, requested: str | None = None) -> str:
    """As :func:`seen`, without a look at the contents."""
    if caller.root:
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
    # What is wrong from here on the caller could not see: something else may have been put there meanwhile.
    with contextlib.suppress(Refused, InvalidRequest):
        if config.resolve_release(app, found.path) == found.path:
            return found.path
    raise _denied(caller, path)


def _denied(caller: Caller, path: str) -> AccessDenied:
    return AccessDenied(f"{path} is not a directory that user {caller.uid} can list; ask about it as root")


def _see_programs(caller: Caller, app: App, release: Found, path: str) -> None:
    for key, program in config.programs(app, release.path).items():
        try:
            inode = caller.files.find(program).inode
        except PermissionError:
            raise _denied(caller, path) from None
        except OSError as error:
            raise Refused(f"{key} of {app.name} names {program}: {error.strerror}; correct it or the release") from None
        if not stat.S_ISREG(inode.mode) or not inode.mode & 0o111:
            raise Refused(f"{key} of {app.name} names {program}, which is not an executable file; correct it")


def agreed(caller: Caller, app: App, known: Iterable[str], requested: str | None) -> str:
    """The real directory that an unprivileged caller wants rolled out; `known` are releases of generations.

    Beside these and the app file's own release it may name no other: that needs root. Raises AccessDenied.
    """
    if requested is None:
        return os.path.realpath(app.release)
    path = checked(requested)
    releases = {os.path.realpath(item) for item in (app.release, *known)}
    parents = {str(Path(item).parent) for item in releases} - {"/"}
    # Outside these places links are followed only as far as the caller could follow them.
    real = os.path.realpath(path) if str(Path(path).parent) in parents else _found(caller, path)
    if real not in releases and str(Path(real).parent) not in parents:
        places = ", ".join(sorted(parents)) or "no other directory"
        raise AccessDenied(
            f"{path} lies outside the places that releases of {app.name} come from ({places}); roll it out as root, or"
            " put it there"
        )
    return real


def _found(caller: Caller, path: str) -> str:
    try:
        return caller.files.find(path).path
    except OSError:
        return path
