"""Assets of all releases in one directory, from which a web server serves those of old pages as well as of new ones.

Only files that were merged by this module, which a record names, are ever replaced or removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deployd.errors import DeploydError
from deployd_cli.delivery.ownership import require_own
from deployd_cli.delivery.release_files import ReleaseFiles

RECORD, LOCK = ".deployd-assets", ".deployd-assets.lock"
"""Files in the directory of what releases share: what was merged, and a lock. They are not in what is served."""
TEMPORARY = ".deployd-new"
PIECE = 1 << 20


def missing(new: Set[str], present: Set[str]) -> frozenset[str]:
    """Return what is to be added before a rollout: new pages need it, and old ones what is there. Pure."""
    return frozenset(new - present)


def obsolete(recorded: Set[str], kept: Iterable[Set[str]]) -> frozenset[str]:
    """Return what is to be removed: what was merged, and what none of the releases has that were kept. Pure."""
    return frozenset(recorded).difference(*kept)


@dataclass(frozen=True, slots=True)
class Assets:
    """The assets of an app."""

    path: str
    """In each release, and in `shared`."""
    shared: Path
    """A directory that the app cannot change, or it could have files written elsewhere."""

    @property
    def directory(self) -> Path:
        """Where those of all releases are."""
        return self.shared / self.path

    def require_own(self) -> None:
        """Raise Refused if another user than root and the caller can change the directory, or one above it, and
        DeploydError."""
        require_own(self.directory, "assets of [deploy]")

    def merge(self, release: Path) -> int:
        """Add what is missing of a release that will be rolled out; return the number of files. Raises DeploydError."""
        with self._locked():
            new, recorded = self._of(release).paths(), self._recorded()
            todo = missing(new, {path for path in new if os.path.lexists(self.directory / path)})
            self._record(recorded | todo)  # first, or what is copied might stay for ever
            for path, file in self._of(release).opened():
                if path in todo:
                    self._copy(file, path)
            return len(todo)

    def finish(self, release: Path) -> int:
        """Replace what differs from a release that is live now, and remove what no release next to it has; return the
        number of files that were removed. Raises DeploydError."""
        with self._locked():
            recorded = self._recorded()
            for path, file in self._of(release).opened():
                if path in recorded and self._differs(file, path):
                    file.seek(0)
                    self._copy(file, path)
            others = (item for item in release.parent.iterdir() if not item.name.startswith("."))
            todo = obsolete(recorded, [self._of(item).paths() for item in others])
            for path in todo:
                self._remove(path)
            self._record(recorded - todo)
            return len(todo)

    def _of(self, release: Path) -> ReleaseFiles:
        return ReleaseFiles(release, self.path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Have the lock, which no other user can have, within the context. Raises DeploydError for OSError."""
        try:
            self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            with open(self.shared / LOCK, "w", opener=_private) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise DeploydError(f"assets cannot be merged in {self.directory}: {error.strerror or error}") from None

    def _recorded(self) -> frozenset[str]:
        return frozenset(self._all_recorded().get(self.path, ()))

    def _all_recorded(self) -> dict[str, list[str]]:
        """Return what was merged by the paths of assets; nothing if that is not known, which removes nothing."""
        try:
            return dict(json.loads((self.shared / RECORD).read_text()))
        except (FileNotFoundError, TypeError, ValueError):
            return {}

    def _record(self, paths: Iterable[str]) -> None:
        found, temporary = self._all_recorded() | {self.path: sorted(paths)}, self.shared / f"{RECORD}.new"
        with open(temporary, "w", opener=_private) as file:
            json.dump(found, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.shared / RECORD)

    def _copy(self, file: IO[bytes], path: str) -> None:
        final, temporary = self.directory / path, self.directory / TEMPORARY
        final.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with temporary.open("wb") as target:
            shutil.copyfileobj(file, target, PIECE)
        info = os.fstat(file.fileno())
        os.utime(temporary, ns=(info.st_atime_ns, info.st_mtime_ns))
        temporary.chmod(0o644)
        temporary.replace(final)

    def _differs(self, file: IO[bytes], path: str) -> bool:
        """True if what was merged under this path is not there any more, or has other contents."""
        try:
            with (self.directory / path).open("rb") as other:
                if os.fstat(file.fileno()).st_size != os.fstat(other.fileno()).st_size:
                    return True
                while data := file.read(PIECE):
                    if data != other.read(len(data)):
                        return True
                return False
        except FileNotFoundError:
            return True

    def _remove(self, path: str) -> None:
        final = self.directory / path
        final.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is another file in it
            for parent in final.parents:
                if parent == self.directory:
                    return
                parent.rmdir()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
