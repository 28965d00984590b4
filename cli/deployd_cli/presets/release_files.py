"""Reads the few files of a release that say which server it runs.

Releases belong to users and may contain anything: reading is bounded, follows no symlink below the release, opens
nothing but regular files, and executes nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployd.errors import Refused
from deployd_cli.presets.project import Project

LARGEST_TEXT = 64 * 1024
MOST_TEXTS = 100
MOST_ENTRIES = 5000
MOST_PROGRAMS = 50

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_NOT_ENTERED = frozenset({"__pycache__", "bower_components", "log", "logs", "node_modules", "target", "tmp", "vendor"})
_ENTERED = ("target/release", "build/libs", "node_modules/.bin", ".venv/bin", "venv/bin", "env/bin")
"""Directories that are read although they lie deeper, or in others that are not."""

# In the order in which they are read, if there are too many.
_WANTED = tuple(
    map(
        re.compile,
        (
            r"Procfile|Gemfile|Gemfile\.lock|package\.json|composer\.json|manage\.py|config\.ru|go\.mod|pom\.xml",
            r"pyproject\.toml|Pipfile|build\.gradle(\.kts)?|Cargo\.toml|nginx\.conf|haproxy\.cfg|Caddyfile",
            r"ecosystem\.config\.(c?js|json)|requirements[\w.-]*\.txt|requirements/[\w.-]+\.txt",
            r"(poetry|uv)\.lock|config/routes\.rb|bootstrap/app\.php",
            r"[\w-]+\.(py|go|js|cjs|mjs)",
            r"[\w-]+/(asgi|wsgi|app|main|settings|__init__)\.py|src/[\w-]+\.(rs|js|mjs|ts)",
        ),
    )
)


def read(release: Path) -> Project:
    """Read the release, a directory or a symlink that leads to one. Raises Refused if that is impossible."""
    try:
        top = os.open(release, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused(
            f"the release {release} cannot be read: {reason}; name another one with --release DIR, or a preset with"
            " --preset NAME"
        ) from None
    try:
        names = _names(top)
        return Project(frozenset(names), _texts(top, names), frozenset(_programs(top, names)))
    finally:
        os.close(top)


def _names(top: int) -> dict[str, bool]:
    """Return the paths of files at the top and one level below, and whether each is executable."""
    found: dict[str, bool] = {}
    below = list(_listed(top, "", found))
    for directory in (*below, *_ENTERED):
        with _opened(top, directory) as descriptor:
            if descriptor is not None:
                list(_listed(descriptor, f"{directory}/", found))
    return found


def _listed(descriptor: int, prefix: str, found: dict[str, bool]) -> Iterator[str]:
    """Add the files of a directory to `found` and yield its directories. Symlinks count as files."""
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if len(found) >= MOST_ENTRIES or not entry.name.isprintable():
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    found[prefix + entry.name] = bool(entry.stat(follow_symlinks=False).st_mode & stat.S_IXUSR)
                elif entry.name not in _NOT_ENTERED and not entry.name.startswith("."):
                    yield entry.name
    except OSError:
        return  # not readable, or removed meanwhile: another file may say enough


def _texts(top: int, names: dict[str, bool]) -> dict[str, str]:
    wanted = [name for pattern in _WANTED for name in sorted(names) if pattern.fullmatch(name)]
    texts: dict[str, str] = {}
    for name in wanted[:MOST_TEXTS]:
        if (data := _beginning(top, name, LARGEST_TEXT)) is not None:
            texts[name] = data.decode(errors="replace")
    return texts


def _programs(top: int, names: dict[str, bool]) -> Iterator[str]:
    candidates = [name for name, executable in names.items() if executable and _may_be_program(name)]
    for name in sorted(candidates)[:MOST_PROGRAMS]:
        if _beginning(top, name, 4) == b"\x7fELF":
            yield name


def _may_be_program(name: str) -> bool:
    directory = name.rpartition("/")[0]
    return directory in ("", "bin", "target/release") and not name.endswith((".so", ".node"))


def _beginning(top: int, name: str, size: int) -> bytes | None:
    """Return the beginning of a regular file; None for anything else."""
    directory, _, base = name.rpartition("/")
    with _opened(top, directory) as parent:
        if parent is None:
            return None
        try:
            descriptor = os.open(base, _FILE, dir_fd=parent)
        except OSError:
            return None
        try:
            return os.read(descriptor, size) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        except OSError:
            return None
        finally:
            os.close(descriptor)


@contextmanager
def _opened(top: int, directory: str) -> Iterator[int | None]:
    """Open a directory below `top`, one component after the other; None if it is none, or reached by a symlink."""
    opened: list[int] = []
    try:
        descriptor: int | None = top
        try:
            for name in filter(None, directory.split("/")):
                opened.append(os.open(name, _DIRECTORY, dir_fd=opened[-1] if opened else top))
            descriptor = opened[-1] if opened else top
        except OSError:
            descriptor = None
        yield descriptor
    finally:
        for found in reversed(opened):
            os.close(found)
