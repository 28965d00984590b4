"""How `deployd deploy` makes a release: the key `releases` and the table [deploy] of an app file."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

SHARED = "shared"
"""The directory next to that of the releases in which are the files that all releases share."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """It says nothing about processes, so it belongs to no generation."""

    releases: str = ""
    """The directory of the releases, "" for that of the live one."""
    build: tuple[tuple[str, ...], ...] = ()
    """Commands that complete a release, each an argv."""
    timeout: float = 900.0
    """Seconds within which all of them must end."""
    shared: tuple[str, ...] = ()
    """Paths in a release that are links to the same path in `shared_directory`."""
    assets: str = ""
    """A directory in a release whose files are merged into the same path in `shared_directory`, "" for none."""
    keep: int = 0
    """Releases that pruning leaves at least, the newest; 0 for no pruning after a deployment."""
    current: str = ""
    """A symbolic link that leads to the live release, "" for none."""

    @property
    def shared_directory(self) -> str:
        """The directory of shared files; it needs `releases`."""
        return posixpath.join(posixpath.dirname(self.releases), SHARED)
