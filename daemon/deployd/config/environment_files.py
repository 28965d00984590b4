"""The contents of environment files, which are read once for each generation.

Instances start with what the files contained when the rollout started: a crash restart must not bring newer values into
one instance, and a rollback brings the old ones back. Only root may be able to write the directories above the files,
because they are read as root. Their contents merely become the app's environment, so the app's user may write the files
themselves, but not everybody. The contents are kept as they are: systemd parses them.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import replace

from deployd.config import passed_file
from deployd.config.environment_syntax import ignored
from deployd.config.source import Problem, one_line
from deployd.errors import Refused
from deployd.files.walk import walk
from deployd.model.app import App

LARGEST = 1024 * 1024
"""Bytes of all environment files of an app, as many as its environment may have."""
MOST = 999
"""Environment files of an app; their names in a generation have three digits."""


SHOWN = 3
"""Doubtful lines of a file that are reported."""


def capture(app: App) -> App:
    """Return the app, and its process types, with the present contents of their environment files.

    Raises Refused for a file that is missing, although it is not optional, for one that other users could replace, and
    for one that systemd could not read.
    """
    captured = tuple(text for _, text in _files(app))
    return replace(app, environment_contents=captured, processes=tuple(map(capture, app.processes)))


def doubtful_lines(app: App) -> tuple[str, ...]:
    """Return sentences about lines of the environment files that systemd ignores or misunderstands.

    Raises Refused as :func:`capture`.
    """
    return tuple(
        one_line(f"environment_files: {path}, line {number}: {reason}")
        for path, text in _files(app)
        for number, reason in ignored(text)[:SHOWN]
    )


def _files(app: App) -> list[tuple[str, str]]:
    """Return the paths and contents of the files in the order in which systemd reads them. Raises Refused."""
    found: list[tuple[str, str]] = []
    for item in app.environment_files:
        optional, pattern = item.startswith("-"), item.removeprefix("-")
        for path in _matches(app, pattern, optional=optional):
            try:
                found += ((path, text.decode("latin-1")) for text in _read(path, optional=optional))
            except Problem as problem:
                raise _refused(app, path, problem) from None
            if sum(len(text) for _, text in found) > LARGEST or len(found) > MOST:
                raise _refused(
                    app, path, f"is one too many: there may be {MOST} files, with 1 MiB in total; merge them"
                )
    return found


def _read(path: str, *, optional: bool) -> Iterator[bytes]:
    """Yield the contents of the file; nothing if it is optional and cannot be read. Raises Problem."""
    try:
        data = passed_file.read(path, LARGEST + 1)
    except OSError as error:
        if not optional:
            raise Problem(
                f'cannot be read: {error.strerror}; create it, or write "-{path}" if it may be missing'
            ) from None
        return
    if b"\0" in data:
        raise Problem("has a NUL byte, and systemd reads text files only; remove the byte")
    yield data


def _matches(app: App, pattern: str, *, optional: bool) -> list[str]:
    """Return what EnvironmentFile= reads: a path, or what a wildcard matches, after checking its directory."""
    if not glob.has_magic(pattern):
        return [pattern]
    plain = pattern[: min(pattern.find(letter) for letter in "*?[" if letter in pattern)].rpartition("/")[0] or "/"
    found: list[str] = []
    try:
        with walk(plain, passed_file.require_trusted_directory):
            found = sorted(glob.glob(pattern))  # noqa: PTH207 - it is absolute
    except Problem as problem:
        raise _refused(app, pattern, problem) from None
    except OSError:
        pass
    if not found and not optional:
        raise _refused(app, pattern, f'matches no file; create one, or write "-{pattern}" if there may be none')
    return found


def _refused(app: App, path: str, problem: object) -> Refused:
    return Refused(one_line(f"environment_files of {app.name}: {path} {problem}"))
