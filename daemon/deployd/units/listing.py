"""The names in directories of units, which hold the units of all apps and are asked for those of one."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

SETTLED = 100_000_000
"""Nanoseconds after a change of a directory from which another change has another modification time: the kernel counts
in steps of 10 ms at most."""


class Listing:
    """Names by directory. A directory is listed again only if it has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, list[str]]] = {}

    def starting_with(self, directory: Path, prefix: str) -> Iterator[str]:
        """Iterate over the names that start with `prefix`, sorted; none if the directory cannot be read."""
        names = self._names(directory)
        for index in range(bisect_left(names, prefix), len(names)):
            if not names[index].startswith(prefix):
                return
            yield names[index]

    def _names(self, directory: Path) -> list[str]:
        try:
            changed = directory.stat().st_mtime_ns
            known = self._known.get(directory)
            if known is not None and known[0] == changed:
                return known[1]
            names = sorted(os.listdir(directory))  # noqa: PTH208 - names are wanted, not paths
        except OSError:
            return []
        if time.time_ns() - changed > SETTLED:
            self._known[directory] = changed, names
        else:
            self._known.pop(directory, None)
        return names
