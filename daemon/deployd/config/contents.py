"""A digest of a release directory, which detects that a release was changed in place.

The digest covers what the app itself could not have written: the path, size and modification time of files, and the
path and target of symbolic links. Ignored are entries whose names start with a dot, ``__pycache__``, ``*.pyc``,
``*.pid``, ``*.log`` and ``*.sock``, entries that are neither a file nor a link, and everything owned by the app's user,
directories with all their contents, because that is the app's data. An app that runs as root is the exception: root
owns the code as well.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Self

from deployd.config.release import is_there
from deployd.config.source import printable
from deployd.errors import Refused
from deployd.files.walk import roots_links, walk
from deployd.model.app import App
from deployd.model.generation import Generation

LIMIT = 20_000
"""Entries in the digest, those near the top first; the rest of a larger release is ignored."""

DEEPEST = 64
"""Levels of directories that are read; what lies deeper is ignored."""
MOST_SEEN = 500_000
"""Entries that are read, ignored ones included; reading more would occupy a CPU for a single app."""
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

LEFTOVERS = (".pyc", ".pid", ".log", ".sock")
ROOT = 0


@dataclass(frozen=True, slots=True)
class Contents:
    digest: str
    """Equal if nothing covered by the digest has changed. Begins with the number of files, for human readers."""
    files: int
    newest: tuple[str, float] | None = None
    """The most recently modified file: its path in the release and its time, in seconds since the epoch."""


def contents(release: str, app: App) -> Contents:
    """Return the contents of the directory `release`. Raises Refused if it cannot be read.

    Blocks, so it must not run in the event loop: it opens no file, but reads up to MOST_SEEN directory entries.
    """
    digest, files, newest = hashlib.sha256(), 0, None
    try:
        entries = _walk(release, _own(app.user))
        for path, info, target in islice(entries, LIMIT):
            if stat.S_ISDIR(info.st_mode):
                continue
            files += 1
            what = os.fsencode(target) if target is not None else b"%d %d" % (info.st_size, info.st_mtime_ns)
            digest.update(b"%b\0%b\0" % (os.fsencode(path), what))
            if newest is None or info.st_mtime > newest[1]:
                newest = path, info.st_mtime
        more = next(entries, None) is not None
    except OSError as error:
        raise Refused(f"the release {release} cannot be read: {error.strerror or error}; correct that first") from None
    return Contents(f"{files}{'+' if more else ''}:{digest.hexdigest()[:32]}", files, newest)


def refuse_changed(generation: Generation) -> None:
    """Raise Refused if the release of `generation` has changed since the rollout."""
    change = changed(generation)
    if change:
        name, release = generation.app, generation.release
        raise Refused(
            f"the release {release} has changed since generation {generation.number}: {change}; restore it, or run"
            f" deployd rollout {name} --release {release} to roll it out as it is now"
        )


def changed(generation: Generation) -> str:
    """Return a phrase about how the release differs from what it was when `generation` was made, "" if it does not.

    A directory that does not exist counts as unchanged. Raises Refused if it cannot be read.
    """
    if not generation.contents or not is_there(generation.release):
        return ""
    return difference(generation, contents(generation.release, generation.settings))


def difference(generation: Generation, now: Contents) -> str:
    """Return a phrase about how `now` differs from the contents of `generation`, "" if it does not or is unknown."""
    held = generation.contents
    if held in ("", now.digest):
        return ""
    if now.newest is not None and now.newest[1] > generation.started:
        when = datetime.fromtimestamp(now.newest[1], UTC).astimezone()
        return f"{printable(now.newest[0])} was changed on {when:%Y-%m-%d at %H:%M:%S}"
    files = held.partition(":")[0]
    if files != now.digest.partition(":")[0]:
        return f"it has {now.files} files instead of {files}"
    return "a file was replaced by an older file or one of a different size"


def _walk(release: str, own: int | None) -> Iterator[tuple[str, os.stat_result, str | None]]:
    """Yield the path in the release, the status and the target of a link for all entries in the digest and directories.

    The order is sorted level by level, so that a limit always cuts off the same entries, and the deepest ones: the
    app's own code comes before its nested libraries.
    """
    with _Tree(release) as tree:
        level: list[tuple[str, ...]] = [()]
        while level and len(level[0]) < DEEPEST:
            deeper = []
            for directory in level:
                try:
                    entries = _entries(tree, directory, own)
                except (FileNotFoundError, NotADirectoryError):
                    if not directory:
                        raise
                    continue  # removed meanwhile
                for name, info, target in entries:
                    path = (*directory, name)
                    if stat.S_ISLNK(info.st_mode) or stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode):
                        yield "/".join(path), info, target
                    if stat.S_ISDIR(info.st_mode):
                        deeper.append(path)
            level = deeper


class _Tree:
    """Opens directories of a release without following symlinks.

    The parents of the last directory stay open, because the next one is most often a sibling.
    """

    def __init__(self, release: str) -> None:
        with walk(release, roots_links) as found:
            self._top = os.open(".", _FLAGS, dir_fd=found.descriptor)
        self._open: list[tuple[str, int]] = []
        self.seen = 0
        """Entries read so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(0)
        os.close(self._top)

    def descriptor(self, directory: tuple[str, ...]) -> int:
        """Return a descriptor of the directory with these components, valid until the next call. Raises OSError."""
        shared = 0
        while shared < min(len(directory), len(self._open)) and self._open[shared][0] == directory[shared]:
            shared += 1
        self._close(shared)
        for name in directory[shared:]:
            above = self._open[-1][1] if self._open else self._top
            self._open.append((name, os.open(name, _FLAGS, dir_fd=above)))
        return self._open[-1][1] if self._open else self._top

    def _close(self, keep: int) -> None:
        while len(self._open) > keep:
            os.close(self._open.pop()[1])


def _entries(tree: _Tree, directory: tuple[str, ...], own: int | None) -> list[tuple[str, os.stat_result, str | None]]:
    """Return the entries of a directory that the digest covers, sorted: name, status and target of a link."""
    descriptor = tree.descriptor(directory)

    def counting(entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, os.stat_result]]:
        for entry in entries:
            tree.seen += 1
            if tree.seen > MOST_SEEN:
                raise OSError(errno.E2BIG, f"it has more than {MOST_SEEN} files; keep data outside of releases")
            info = _counts(entry, own)
            if info is not None:
                yield entry.name, info

    with os.scandir(descriptor) as entries:
        found = heapq.nsmallest(LIMIT + 1, counting(entries), key=lambda item: item[0])
    return [(name, info, _target(descriptor, name) if stat.S_ISLNK(info.st_mode) else None) for name, info in found]


def _counts(entry: os.DirEntry[str], own: int | None) -> os.stat_result | None:
    """Return the status of an entry that the digest covers, None for other entries."""
    if entry.name.startswith(".") or entry.name == "__pycache__" or entry.name.endswith(LEFTOVERS):
        return None
    try:
        info = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # removed meanwhile
    return info if info.st_uid != own else None


def _target(descriptor: int, name: str) -> str:
    try:
        return str(Path(os.readlink(name, dir_fd=descriptor)))
    except OSError:
        return ""  # removed or replaced meanwhile


def _own(user: str | None) -> int | None:
    """Return the user ID that owns the app's data; None if the app runs as root."""
    if user is None:
        return None
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        return None  # systemd reports that there is no such user
    return None if uid == ROOT else uid
