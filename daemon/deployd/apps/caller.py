"""The caller of a method: the user and groups of a D-Bus connection, and what that user may read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployd.files.path_access import PathAccess
from deployd.files.walk import TRUSTED

JOURNALS = ("/var/log/journal", "/run/log/journal")
"""Where journald keeps its files, below the machine ID (systemd-journald.service(8))."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a method call."""

    sender: str
    """Unique bus name."""
    uid: int
    groups: frozenset[int] = frozenset()
    interactive: bool = False
    """True if the caller allows polkit to ask for a password."""

    @property
    def trusted(self) -> bool:
        """True if the caller is root, or in user mode the user as which deployd runs."""
        return self.uid in TRUSTED

    @property
    def files(self) -> PathAccess:
        """The files that the caller may read."""
        return PathAccess(self.uid, self.groups)

    def reads_journal(self) -> bool:
        """True if the caller can open the system's journal files, and so may see lines from them."""
        return self.trusted or may_read_journal(self.files)


def machine_id() -> str:
    """Return the machine ID (machine-id(5))."""
    return Path("/etc/machine-id").read_text(encoding="ascii").strip()


def may_read_journal(files: PathAccess, journals: tuple[str, ...] = JOURNALS, machine: str = "") -> bool:
    """True if the system has journal files and all of them may be read."""
    paths = [f"{directory}/{machine or machine_id()}/system.journal" for directory in journals]
    there = [path for path in paths if Path(path).exists()]
    return bool(there) and all(files.may_read(path) for path in there)
