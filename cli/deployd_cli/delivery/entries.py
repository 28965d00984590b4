"""Which entries of an archive may be unpacked: none that leads out of the directory, by whatever way. Pure.

No entry lies behind a symbolic link, so each is where its path says. A symbolic link may go up first and then down, as
in ``../lib/x``, and no higher than the directory. Behind another link, ``..`` would lead elsewhere than it says.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from deployd.errors import Refused

UP = ".."
LONGEST = 4096
"""PATH_MAX."""


@dataclass(slots=True)
class Entries:
    """What was accepted so far."""

    links_may_leave: bool = False
    """Accept symbolic links whatever they lead to, as a build makes them. Still no entry lies behind one."""
    files: set[PurePosixPath] = field(default_factory=set)
    links: set[PurePosixPath] = field(default_factory=set)

    def accept(self, entry: tarfile.TarInfo) -> PurePosixPath | None:
        """Return where to unpack an entry, or None for the directory itself. Raises Refused."""
        path = _path(entry.name, "the archive has an entry")
        if path is None:
            return None
        said = f"the archive has an entry {str(path)!r}"
        if behind := next((parent for parent in path.parents if parent in self.links), None):
            raise Refused(f"{said} behind the link {str(behind)!r}; archive what the link leads to, or leave it out")
        if path in self.files or path in self.links:
            raise Refused(f"{said} twice; make it anew")
        if entry.issym():
            if not self.links_may_leave:
                _check_target(said, path, entry.linkname)
            self.links.add(path)
        elif entry.islnk():
            if _path(entry.linkname, f"{said}, a link to") not in self.files:
                raise Refused(f"{said}, a link to {entry.linkname!r}, which is no file before it")
            self.files.add(path)
        elif entry.isfile():
            self.files.add(path)
        elif not entry.isdir():
            raise Refused(f"{said} that is a device or the like; releases have files, directories and links")
        return path


def _path(name: str, said: str) -> PurePosixPath | None:
    """Return a path below the directory. Raises Refused for any other."""
    path = PurePosixPath(name)
    if path.is_absolute() or UP in path.parts or "\0" in name or len(name) > LONGEST:
        raise Refused(f"{said} {name[:100]!r}, which is not below the release; make the archive inside the directory")
    return path if path.parts else None


def _check_target(said: str, path: PurePosixPath, target: str) -> None:
    """Raise Refused if a symbolic link may lead out of the directory."""
    parts = PurePosixPath(target).parts
    up = next((count for count, part in enumerate(parts) if part != UP), len(parts))
    if not parts or parts[0] == "/" or UP in parts[up:] or up > len(path.parts) - 1:
        raise Refused(
            f"{said}, a link to {target[:100]!r}, which may lead out of the release; use a relative one inside"
        )
