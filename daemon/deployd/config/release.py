"""The release directory as it is right now: a rollout starts from a real directory, never from a symlink.

A symlink such as ``current`` may move while the rollout runs; what it led to when the rollout started is what
every instance of the generation gets.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from deployd.config import values
from deployd.config.source import Problem
from deployd.errors import InvalidRequest, Refused
from deployd.model.app import App

MARK = ".deployd/irreversible"
"""A file of the release: its first line says why there is no going back past it."""
REASON = 1024
"""Bytes of it that are read."""
MOST_SIBLINGS = 500


def resolve_release(app: App, override: str | None = None) -> str:
    """The real directory of `override` or of the app's release, with a program in it that can run."""
    release = app.release if override is None else override
    if not release.startswith("/"):
        raise InvalidRequest(f'the release "{release}" is not an absolute path; start it with /')
    try:
        real = os.path.realpath(release, strict=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused(f"the release {release} cannot be used: {reason}; put the directory there first") from None
    if not Path(real).is_dir():
        raise Refused(f"the release {release} is not a directory; name the directory that holds the code")
    try:
        values.path(real)
    except Problem as problem:
        raise Refused(f"the release {real!r} cannot be used: its path {problem}") from None
    _check_program(app, "exec", app.exec, real)
    if app.gate.probe is not None and app.gate.probe.command:
        _check_program(app, "gate.probe.command", app.gate.probe.command, real)
    return real


def _check_program(app: App, key: str, argv: tuple[str, ...], release: str) -> None:
    """The first word of a command must be there and executable: better said now than by every instance."""
    program = _program(argv, release)
    if not Path(program).exists():
        raise Refused(f"{key} of {app.name} names {program}, which does not exist; correct {key} or the release")
    if not Path(program).is_file() or not os.access(program, os.X_OK):
        raise Refused(
            f"{key} of {app.name} names {program}, which is not an executable file; correct it or run chmod +x"
        )


def is_there(release: str) -> bool:
    try:
        return Path(release).is_dir()
    except OSError:  # a dead network file system, for one
        return False


def missing(app: App, release: str) -> str:
    """What an instance of `release` would not find: a sentence, "" if all is there. Costs two system calls."""
    try:
        if not stat.S_ISDIR(Path(release).stat().st_mode):
            return f"the release {release} is not a directory any more"
    except OSError as error:
        return f"the release {release} is gone ({error.strerror})"
    program = _program(app.exec, release)
    try:
        Path(program).stat()
    except OSError as error:
        return f"the program {program} of the release is gone ({error.strerror})"
    return ""


def irreversible(release: str) -> str:
    """Why the release must not be rolled back past, as it says itself in `.deployd/irreversible`; "" if it may.

    A mark that cannot be read is one all the same: to go back past it may cost data.
    """
    path = f"{release}/{MARK}"
    try:
        # A fifo must not keep us waiting, and a link could lead anywhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{path} is there, but cannot be read: {error.strerror}"
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return f"{path} is there, but is not a file"
        lines = os.read(descriptor, REASON).decode(errors="replace").splitlines()
    finally:
        os.close(descriptor)
    reason = " ".join("".join(char if char.isprintable() else " " for char in lines[0]).split()) if lines else ""
    return reason or f"{MARK} is there, and gives no reason"


def siblings(releases: Iterable[str]) -> list[str]:
    """Directories beside the `releases` that are there: more of the same family, most likely. Sorted, bounded.

    Beside one in a top-level directory, such as ``/srv/shop``, lies what is no release.
    """
    parents = {path.parent for path in map(Path, filter(is_there, releases))}
    found: list[str] = []
    for parent in sorted(parents):
        if parent.parent == Path("/"):
            continue
        try:
            with os.scandir(parent) as entries:
                directories = (
                    entry.path
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                )
                found += heapq.nsmallest(MOST_SIBLINGS, directories)
        except OSError:
            continue  # it went away while we looked
    return found


def _program(argv: tuple[str, ...], release: str) -> str:
    return argv[0] if argv[0].startswith("/") else os.path.normpath(f"{release}/{argv[0]}")
