"""Reads what exists, and does what a plan says. Each file is written whole or not at all."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from deployd.errors import DeploydError
from deployd_cli import file_writer
from deployd_cli.setup.plan import Action, Present, Step

WORLD = 0o755


class Executor:
    """Works below a root, as DESTDIR does."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def path(self, destination: str | Path) -> Path:
        return self._root / str(destination).lstrip("/")

    def present(self, destinations: Iterable[str]) -> dict[str, Present]:
        """Return those files of `destinations` that exist. Raises DeploydError for one that cannot be read."""
        found = {}
        for destination in destinations:
            path = self.path(destination)
            try:
                mode = stat.S_IMODE(path.stat().st_mode)
                found[destination] = Present(path.read_bytes(), mode)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise DeploydError(f"{path} cannot be read: {error.strerror}") from None
        return found

    def directories(self, directories: Iterable[str]) -> list[str]:
        """Create directories with their parents; return those that did not exist. Raises DeploydError."""
        made = []
        for directory in directories:
            missing = [each for each in (Path(directory), *Path(directory).parents) if not self.path(each).is_dir()]
            for each in reversed(missing):
                try:
                    self.path(each).mkdir()
                    self.path(each).chmod(WORLD)  # whatever the umask is
                except OSError as error:
                    raise DeploydError(f"{self.path(each)} cannot be created: {error.strerror}") from None
                made.append(str(each))
        return made

    def apply(self, steps: Iterable[Step]) -> None:
        """Write and remove files. Raises DeploydError."""
        for step in steps:
            path = self.path(step.destination)
            if step.action in (Action.CREATE, Action.UPDATE):
                file_writer.write(path, step.contents, replace=True, mode=step.mode)
            elif step.action is Action.REMOVE:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise DeploydError(f"{path} cannot be removed: {error.strerror}") from None

    def remove_empty(self, directories: Iterable[str]) -> None:
        """Remove directories that are empty, the deepest first."""
        for directory in sorted(directories, key=len, reverse=True):
            try:
                self.path(directory).rmdir()
            except OSError:
                continue  # it is in use, or gone
