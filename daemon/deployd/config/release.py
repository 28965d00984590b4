"""The release directory as it is right now: a rollout starts from a real directory, never from a symlink.

A symlink such as ``current`` may move while the rollout runs; what it led to when the rollout started is what
every instance of the generation gets.
"""

from __future__ import annotations

import os
from pathlib import Path

from deployd.config import values
from deployd.config.source import Problem
from deployd.errors import InvalidRequest, Refused
from deployd.model.app import App


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
    program = argv[0] if argv[0].startswith("/") else os.path.normpath(f"{release}/{argv[0]}")
    if not Path(program).exists():
        raise Refused(f"{key} of {app.name} names {program}, which does not exist; correct {key} or the release")
    if not Path(program).is_file() or not os.access(program, os.X_OK):
        raise Refused(
            f"{key} of {app.name} names {program}, which is not an executable file; correct it or run chmod +x"
        )
