"""Records of the instances that drain, by which a later daemon and systemd know them.

    STATE/apps/NAME/draining/I: "SINCE UNTIL", of an instance that was asked to stop

Such an instance keeps its pin, through which its unit reaches the files of its generation until it has ended. As long
as the record exists, a condition of the unit keeps it from being started, by a boot or after a crash.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from deployd.state.disk import Disk, reported

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_RECORD = re.compile(r"([0-9]+\.[0-9]+) ([0-9]+\.[0-9]+)\n")


@dataclass(frozen=True, slots=True)
class DrainRecord:
    """The record of an instance that drains. Times in CLOCK_MONOTONIC seconds; nothing drains across a reboot."""

    since: float
    until: float
    """When it will be killed at the latest."""


_NONE: Mapping[int, DrainRecord] = MappingProxyType({})


class Drains:
    """The records of all apps below one state directory."""

    def __init__(self, state_dir: Path, disk: Disk) -> None:
        self._apps = state_dir / "apps"
        self._disk = disk
        self._known: dict[str, tuple[int, Mapping[int, DrainRecord]]] = {}
        self.revision = 0
        """How often this process has changed a record."""

    def directory(self, app_name: str) -> Path:
        return self._apps / app_name / "draining"

    def read(self, app_name: str) -> Mapping[int, DrainRecord]:
        """Map instances to their records. The same object as long as nothing changes. Raises StateError."""
        directory = self.directory(app_name)
        with reported(f"read which instances of {app_name} drain"):
            try:
                stamp = os.stat(directory).st_mtime_ns  # noqa: PTH116 - called often
            except (FileNotFoundError, NotADirectoryError):
                return _NONE
            known = self._known.get(app_name)
            if known is None or known[0] != stamp:
                names = sorted(int(name) for name in os.listdir(directory) if _NUMBER.fullmatch(name))  # noqa: PTH208
                found = {number: _parsed(directory / str(number)) for number in names}
                known = self._known[app_name] = stamp, found or _NONE
            return known[1]

    def begin(self, app_name: str, instance: int, record: DrainRecord) -> None:
        """Record that `instance` drains, unless that is recorded already. Raises StateError."""
        if instance in self.read(app_name):
            return
        self.revision += 1
        with reported(f"record that instance {instance} of {app_name} drains"):
            self._known.pop(app_name, None)
            directory = self.directory(app_name)
            self._disk.directories(directory)
            text = f"{record.since:.6f} {record.until:.6f}\n"
            self._disk.replace(directory / str(instance), text.encode(), 0o644)

    def end(self, app_name: str, instances: Collection[int]) -> None:
        """Remove the records of instances that have ended. Raises StateError."""
        if not (gone := [number for number in instances if number in self.read(app_name)]):
            return
        self.revision += 1
        with reported(f"record that an instance of {app_name} has ended"):
            self._known.pop(app_name, None)
            for number in gone:
                self._disk.remove(self.directory(app_name) / str(number))
            self._disk.sync(self.directory(app_name))


def _parsed(record: Path) -> DrainRecord:
    """Return a record; one that cannot be read still says that the instance drains."""
    try:
        found = _RECORD.fullmatch(record.read_text(encoding="ascii"))
    except (OSError, ValueError):
        found = None
    return DrainRecord(float(found[1]), float(found[2])) if found else DrainRecord(0.0, 0.0)
