"""Who calls: the user and groups behind a D-Bus connection, and what the system lets that user read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployd.files.path_access import PathAccess

JOURNALS = ("/var/log/journal", "/run/log/journal")
"""Where journald keeps its files, below the machine ID (systemd-journald.service(8))."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a method call."""

    sender: str
    """Its unique bus name."""
    uid: int
    groups: frozenset[int] = frozenset()
    interactive: bool = False
    """True if it allows that a password is asked for."""

    @property
    def root(self) -> bool:
        return self.uid == 0

    @property
    def files(self) -> PathAccess:
        return PathAccess(self.uid, self.groups)

    def reads_journal(self) -> bool:
        """True if the system's journal files can be opened by the caller: what is in them is no secret then."""
        return self.root or may_read_journal(self.files)


def machine_id() -> str:
    """See machine-id(5)."""
    return Path("/etc/machine-id").read_text(encoding="ascii").strip()


def may_read_journal(files: PathAccess, journals: tuple[str, ...] = JOURNALS, machine: str = "") -> bool:
    """True if there are system journals and all of them may be read."""
    paths = [f"{directory}/{machine or machine_id()}/system.journal" for directory in journals]
    there = [path for path in paths if Path(path).exists()]
    return bool(there) and all(files.may_read(path) for path in there)
