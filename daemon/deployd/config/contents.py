"""What a release directory holds: a digest that tells a release that was changed in place from one that was not.

What counts is what the app itself could not have written, by path, size and time of modification; a symbolic link
by where it leads. What does not count: entries whose names start with a dot, ``__pycache__``, ``*.pyc``, ``*.pid``,
``*.log`` and ``*.sock``, whatever is neither a file nor a link, and what the app's own user owns, directories with
all that is in them: that is its data. The exception is an app that runs as root: root owns the code as well.
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
"""Entries that are looked at, those near the top first; the rest of a larger release counts for nothing."""

DEEPEST = 64
"""Levels of directories that are looked at; what lies deeper counts for nothing."""
MOST_SEEN = 500_000
"""Entries, those that count for nothing included: more would keep a processor busy for an app alone."""
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

LEFTOVERS = (".pyc", ".pid", ".log", ".sock")
ROOT = 0


@dataclass(frozen=True, slots=True)
class Contents:
    digest: str
    """Equal when nothing that counts has changed. Begins with the number of files, for people."""
    files: int
    newest: tuple[str, float] | None = None
    """The file that was modified last: its path in the release, and when, in seconds since the epoch."""


def contents(release: str, app: App) -> Contents:
    """What the directory `release` holds now. Reads no file, but up to 20,000 directory entries: not for the event
    loop. Raises Refused when the directory cannot be read."""
    digest, files, newest = hashlib.sha256(), 0, None
    try:
        entries = _walk(release, _own(app.user))
        for path, info, leads_to in islice(entries, LIMIT):
            if stat.S_ISDIR(info.st_mode):
                continue
            files += 1
            what = os.fsencode(leads_to) if leads_to is not None else b"%d %d" % (info.st_size, info.st_mtime_ns)
            digest.update(b"%b\0%b\0" % (os.fsencode(path), what))
            if newest is None or info.st_mtime > newest[1]:
                newest = path, info.st_mtime
        more = next(entries, None) is not None
    except OSError as error:
        raise Refused(f"the release {release} cannot be read: {error.strerror or error}; mend that first") from None
    return Contents(f"{files}{'+' if more else ''}:{digest.hexdigest()[:32]}", files, newest)


def refuse_changed(generation: Generation) -> None:
    """Raises Refused unless the release of `generation` holds what it held when it was rolled out."""
    change = changed(generation)
    if change:
        name, release = generation.app, generation.release
        raise Refused(
            f"the release {release} is not what it was in generation {generation.number}: {change}; put it back, or"
            f" deployd rollout {name} --release {release} rolls it out as it is now"
        )


def changed(generation: Generation) -> str:
    """In what the release differs from what it was when `generation` was made: a phrase, "" if in nothing.

    A directory that is not there has not changed. Raises Refused when it cannot be read.
    """
    if not generation.contents or not is_there(generation.release):
        return ""
    return difference(generation, contents(generation.release, generation.settings))


def difference(generation: Generation, now: Contents) -> str:
    """In what `now` differs from what `generation` was made with: a phrase, "" if in nothing or if nobody knows."""
    held = generation.contents
    if held in ("", now.digest):
        return ""
    if now.newest is not None and now.newest[1] > generation.started:
        when = datetime.fromtimestamp(now.newest[1], UTC).astimezone()
        return f"{printable(now.newest[0])} was changed on {when:%Y-%m-%d at %H:%M:%S}"
    files = held.partition(":")[0]
    if files != now.digest.partition(":")[0]:
        return f"it holds {now.files} files, and held {files}"
    return "a file was replaced by an older one, or by one of another size"


def _walk(release: str, own: int | None) -> Iterator[tuple[str, os.stat_result, str | None]]:
    """Path in the release, state and, of a link, where it leads: of all that counts, and of directories.

    Level by level and sorted, so that a limit always cuts off the same, and what lies deepest: the code of the app
    itself comes before the depths of its libraries.
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
                    continue  # it went away while we looked
                for name, info, leads_to in entries:
                    path = (*directory, name)
                    if stat.S_ISLNK(info.st_mode) or stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode):
                        yield "/".join(path), info, leads_to
                    if stat.S_ISDIR(info.st_mode):
                        deeper.append(path)
            level = deeper


class _Tree:
    """Opens directories of a release without ever following a symlink. Those above the last one stay open, for the
    next one most often lies beside it."""

    def __init__(self, release: str) -> None:
        with walk(release, roots_links) as found:
            self._top = os.open(".", _FLAGS, dir_fd=found.descriptor)
        self._open: list[tuple[str, int]] = []
        self.seen = 0
        """Entries that were looked at."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(0)
        os.close(self._top)

    def descriptor(self, directory: tuple[str, ...]) -> int:
        """Of the directory with these components, as long as no other one is asked for. Raises OSError."""
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
    """What counts in a directory, sorted: name, state and where a link leads; never more than could be looked at."""
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
    return [(name, info, _leads_to(descriptor, name) if stat.S_ISLNK(info.st_mode) else None) for name, info in found]


def _counts(entry: os.DirEntry[str], own: int | None) -> os.stat_result | None:
    """The state of an entry that counts."""
    if entry.name.startswith(".") or entry.name == "__pycache__" or entry.name.endswith(LEFTOVERS):
        return None
    try:
        info = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # it went away while we looked
    return info if info.st_uid != own else None


def _leads_to(descriptor: int, name: str) -> str:
    try:
        return str(Path(os.readlink(name, dir_fd=descriptor)))
    except OSError:
        return ""  # it went away, or became something else, while we looked


def _own(user: str | None) -> int | None:
    """The user ID whose files are the app's data; None when there is none: the app runs as root."""
    if user is None:
        return None
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        return None  # systemd will say that there is no such user
    return None if uid == ROOT else uid
