"""Reads the tree of a release: its entries in an order that depends on nothing but their names.

No symlink is followed and no file is opened. Reading is bounded for any tree, because users make them.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from deployd.files.walk import trusted_links, walk

DEEPEST = 64
"""Levels of directories that are read; what lies deeper is ignored."""
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Counts = Callable[[os.DirEntry[str], os.stat_result], bool]
"""True for an entry that is wanted; directories that are not wanted are not read."""


def walk_release(
    release: str, counts: Counts, *, limit: int, most: int
) -> Iterator[tuple[str, os.stat_result, str | None]]:
    """Yield the path in the release, the status and the target of a link for the wanted entries, with directories.

    The order is sorted level by level, so that a limit always cuts off the same entries, and the deepest ones: the
    app's own code comes before its nested libraries. More than `limit` entries of a directory are not needed. Raises
    OSError if the tree has more than `most` entries, and if the release cannot be read.
    """
    with _Tree(release) as tree:
        level: list[tuple[str, ...]] = [()]
        while level and len(level[0]) < DEEPEST:
            deeper = []
            for directory in level:
                try:
                    entries = _entries(tree, directory, counts, limit, most)
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
        with walk(release, trusted_links) as found:
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


def _entries(
    tree: _Tree, directory: tuple[str, ...], counts: Counts, limit: int, most: int
) -> list[tuple[str, os.stat_result, str | None]]:
    """Return the wanted entries of a directory, sorted: name, status and target of a link."""
    descriptor = tree.descriptor(directory)

    def counting(entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, os.stat_result]]:
        for entry in entries:
            tree.seen += 1
            if tree.seen > most:
                raise OSError(errno.E2BIG, f"it has more than {most} files; keep data outside of releases")
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # removed meanwhile
            if counts(entry, info):
                yield entry.name, info

    with os.scandir(descriptor) as entries:
        found = heapq.nsmallest(limit + 1, counting(entries), key=lambda item: item[0])
    return [(name, info, _target(descriptor, name) if stat.S_ISLNK(info.st_mode) else None) for name, info in found]


def _target(descriptor: int, name: str) -> str:
    try:
        return str(Path(os.readlink(name, dir_fd=descriptor)))
    except OSError:
        return ""  # removed or replaced meanwhile
