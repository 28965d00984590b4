"""Documents of apps that wait to be delivered: DIRECTORY/APP/NUMBER, in the order of their numbers. Imports disk and
errors only."""

from __future__ import annotations

import re
from pathlib import Path

from deployd.errors import StateError
from deployd.state.disk import Disk, reported

MOST = 100
"""Documents of an app that wait at the same time."""

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


class Spool:
    """The documents below one directory, each readable by root only. Methods raise StateError."""

    def __init__(self, directory: Path, disk: Disk | None = None) -> None:
        self._directory = directory
        self._disk = disk or Disk()

    def add(self, app: str, text: str) -> None:
        """Add a document, after all others of the app."""
        waiting = self.pending(app)
        if len(waiting) >= MOST:
            raise StateError(f"{MOST} notifications of {app} wait to be delivered already")
        path = self._directory / app / str(int(waiting[-1].name) + 1 if waiting else 1)
        with reported(f"write {path}"):
            self._disk.directories(path.parent)
            self._disk.replace(path, text.encode(errors="surrogateescape"), 0o600)

    def pending(self, app: str) -> list[Path]:
        """Return the documents of an app, the oldest first."""
        directory = self._directory / app
        with reported(f"read {directory}"):
            found = [path for path in directory.iterdir() if _NUMBER.fullmatch(path.name)] if directory.is_dir() else []
        return sorted(found, key=lambda path: int(path.name))

    def read(self, document: Path) -> str:
        """Return the text of a document."""
        with reported(f"read {document}"):
            return document.read_text(errors="surrogateescape")

    def remove(self, document: Path) -> None:
        """Remove a document that was delivered."""
        with reported(f"remove {document}"):
            self._disk.remove(document)

    def forget(self, app: str) -> None:
        """Remove all documents of an app."""
        with reported(f"remove {self._directory / app}"):
            self._disk.remove(self._directory / app)
