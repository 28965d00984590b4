"""Checks of release directories. A rollout uses a real directory, never a symlink.

A symlink such as ``current`` may change during a rollout; every instance of the generation runs the release to which
it pointed when the rollout started.
"""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Iterable
from pathlib import Path

from deployd.config import values
from deployd.config.source import Problem, one_line, printable
from deployd.errors import InvalidRequest, Refused
from deployd.files.walk import LinkOwners, no_links, trusted_links, walk
from deployd.model.app import App

MARK = ".deployd/irreversible"
"""A file in a release that must not be rolled back; its first line gives the reason."""
REASON = 1024
"""Bytes of the mark that are read."""
MOST_SIBLINGS = 500
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def resolve_release(app: App, override: str | None = None) -> str:
    """Return the real directory of `override` or of the app's release, after checking that it can run.

    Raises InvalidRequest and Refused.
    """
    release = app.release if override is None else override
    if not release.startswith("/"):
        raise InvalidRequest(one_line(f'the release "{release}" is not an absolute path; start it with /'))
    try:
        with walk(release, LinkOwners()) as found:
            real, is_directory = found.path, found.is_directory
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused(
            one_line(f"the release {release} cannot be used: {reason}; name a directory that exists")
        ) from None
    if not is_directory:
        raise Refused(one_line(f"the release {release} is not a directory; name the directory that holds the code"))
    try:
        real.encode()
        values.path(real)
    except UnicodeEncodeError:
        raise Refused(one_line(f"the release {real} cannot be used: its path is not UTF-8; rename it")) from None
    except Problem as problem:
        raise Refused(one_line(f"the release {real} cannot be used: its path {problem}")) from None
    for item in app.members:
        for key, program in programs(item, real).items():
            _check_program(item, key, program)
    return real


def directory(app: App) -> str:
    """Return the directory to which the app file's release leads, "" if it leads to none."""
    try:
        with walk(app.release, LinkOwners()) as found:
            return found.path if found.is_directory else ""
    except (OSError, ValueError):
        return ""


def _check_program(app: App, key: str, program: str) -> None:
    """Raise Refused unless `program` exists and is executable, which is better than a failure of each instance."""
    try:
        with walk(program, LinkOwners()) as found:
            runs = found.is_file and bool(found.info.st_mode & 0o111)
    except OSError as error:
        what = "does not exist" if error.errno in (errno.ENOENT, errno.ENOTDIR) else f"cannot be run: {error.strerror}"
        raise Refused(f"{key} of {app.name} names {program}, which {what}; correct {key} or the release") from None
    if not runs:
        raise Refused(
            f"{key} of {app.name} names {program}, which is not an executable file; correct it or run chmod +x"
        )


def programs(app: App, release: str) -> dict[str, str]:
    """Map keys of the app file to the programs that they name, which :func:`resolve_release` checks."""
    found = {"exec": _program(app.exec, release)}
    if app.gate.probe is not None and app.gate.probe.command:
        found["gate.probe.command"] = _program(app.gate.probe.command, release)
    if app.drain.command:
        found["drain.command"] = _program(app.drain.command, release)
    found |= {f"process.{timer.name}.exec": _program(timer.exec, release) for timer in app.timers}
    return found


def is_there(release: str) -> bool:
    try:
        with walk(release, trusted_links) as found:
            return found.is_directory
    except OSError:  # for example a dead network file system
        return False


def missing(app: App, release: str) -> str:
    """Return a sentence about what an instance of `release` would not find, "" if nothing is missing."""
    try:
        with walk(release, trusted_links) as found:
            if not found.is_directory:
                return f"the release {release} is no longer a directory"
    except OSError as error:
        return f"the release {release} is gone ({error.strerror})"
    program = _program(app.exec, release)
    try:
        with walk(program, LinkOwners()):
            return ""
    except OSError as error:
        return f"the program {program} of the release is gone ({error.strerror})"


def irreversible(release: str) -> str:
    """Return the reason in `.deployd/irreversible` why the release must not be rolled back; "" if it may be.

    A mark that cannot be read counts too, because rolling back may lose data. No part of its path may be a symlink,
    because the release may belong to the app's user and the daemon reads the mark as root.
    """
    path = f"{release}/{MARK}"
    try:
        with walk(release, trusted_links) as found, walk(f"{found.path}/{MARK}", no_links) as mark:
            if not mark.is_file:
                return f"{path} exists but is not a file"
            descriptor = mark.reopen()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{path} exists but cannot be read: {error.strerror}"
    with os.fdopen(descriptor, "rb") as file:
        lines = file.read(REASON).decode(errors="replace").splitlines()
    reason = " ".join("".join(char if char.isprintable() else " " for char in lines[0]).split()) if lines else ""
    return reason or f"{MARK} exists and gives no reason"


def siblings(releases: Iterable[str]) -> list[str]:
    """Return the directories alongside those `releases` that exist, which are most likely releases too.

    The list is sorted and bounded, and its names are escaped for printing. The siblings of a release in a top-level
    directory, such as ``/srv/shop``, are not listed because they are other things.
    """
    parents = {path.parent for path in map(Path, filter(is_there, releases))}
    found: list[str] = []
    for parent in sorted(parents):
        if parent.parent != Path("/"):
            found += (printable(f"{parent}/{name}") for name in _directories(parent))
    return found


def _directories(parent: Path) -> list[str]:
    try:
        with walk(str(parent), trusted_links) as found:
            descriptor = os.open(".", _FLAGS | os.O_DIRECTORY, dir_fd=found.descriptor)
    except OSError:
        return []
    try:
        with os.scandir(descriptor) as entries:
            directories = (
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            )
            return heapq.nsmallest(MOST_SIBLINGS, directories)
    except OSError:
        return []  # removed meanwhile
    finally:
        os.close(descriptor)


def _program(argv: tuple[str, ...], release: str) -> str:
    return argv[0] if argv[0].startswith("/") else os.path.normpath(f"{release}/{argv[0]}")
