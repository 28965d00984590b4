"""Which generation the last run of each timer is of.

    STATE/apps/NAME/runs/TIMER -> ../generations/N

systemd makes the link when a run starts, so it is right whether the daemon runs or not. A run that is under way needs
the files and the release of its generation, also after another one has become the live one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from deployd.state.disk import Disk, reported

_TARGET = re.compile(r"\.\./generations/([1-9][0-9]{0,17})")


class Runs:
    """Of all apps below one state directory. Methods raise StateError."""

    def __init__(self, state_dir: Path, disk: Disk | None = None) -> None:
        self._apps = state_dir / "apps"
        self._disk = disk or Disk()

    def prepare(self, app: str) -> None:
        """Make the directory in which systemd makes the links."""
        with reported(f"make the directory for runs of {app}"):
            self._disk.directories(self._directory(app))

    def read(self, app: str) -> dict[str, int]:
        """Map timers to the generations of their last runs."""
        with reported(f"read the runs of {app}"):
            return dict(self._found(app))

    def forget(self, app: str, timers: Collection[str]) -> None:
        """Remove the links of these timers."""
        with reported(f"remove runs of {app}"):
            for timer in timers:
                self._disk.remove(self._directory(app) / timer)

    def _found(self, app: str) -> Iterator[tuple[str, int]]:
        try:
            names = sorted(os.listdir(self._directory(app)))  # noqa: PTH208 - names are wanted, not paths
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            try:
                target = _TARGET.fullmatch(str((self._directory(app) / name).readlink()))
            except OSError:  # no link, or replaced meanwhile
                continue
            if target is not None:
                yield name, int(target[1])

    def _directory(self, app: str) -> Path:
        return self._apps / app / "runs"
