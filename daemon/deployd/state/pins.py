"""Generations on disk, and the pins that assign instances to them.

    STATE/apps/NAME/generations/N/{run, environment, release -> the release directory, credential-001 -> a copy}
    STATE/apps/NAME/pins/I -> ../generations/N
    STATE/apps/NAME/standby/I: "N SINCE", of an instance in standby

The template unit reaches everything through ``pins/%i``, so an instance is moved to another generation by changing one
symlink. The directory of a generation appears atomically and does not change while a pin points to it. Imports disk and
errors; knows neither systemd nor the history.

An instance in standby has no pin, because neither the next boot nor an automatic restart may start it. Its generation
is in a standby record instead, which is ignored as long as there is a pin. Removing or creating the pin is therefore
the single step that takes an instance into standby or out of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from deployd.errors import InvalidRequest, StateError
from deployd.model.app import NAME
from deployd.state.credentials import Credentials
from deployd.state.disk import Disk, reported
from deployd.state.drains import Drains

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_TARGET = re.compile(r"\.\./generations/([1-9][0-9]{0,17})")
_NO_PINS: Mapping[int, int] = MappingProxyType({})
_NO_RECORDS: Mapping[int, StandbyRecord] = MappingProxyType({})
_RECORD = re.compile(r"([1-9][0-9]{0,17}) ([0-9]+\.[0-9]+)\n")


@dataclass(frozen=True, slots=True)
class StandbyRecord:
    """The standby record of an instance."""

    generation: int
    since: float
    """Start of the standby in CLOCK_MONOTONIC seconds; no standby survives a reboot."""


class Pins:
    """The generations and pins of all apps below one state directory."""

    def __init__(self, state_dir: str | Path, disk: Disk | None = None) -> None:
        self._apps = Path(state_dir) / "apps"
        self._disk = disk or Disk()
        self.credentials = Credentials(Path(state_dir), self._disk)
        """The copies of credentials to which generations link."""
        self.drains = Drains(Path(state_dir), self._disk)
        """The records of instances that drain. They end with the pin."""
        self._read: dict[str, tuple[int, Mapping[int, int]]] = {}
        self._standby: dict[str, tuple[int, dict[int, StandbyRecord]]] = {}
        self._unpinned: dict[str, tuple[Mapping[int, StandbyRecord], Mapping[int, int], dict[int, StandbyRecord]]] = {}
        """By app: standby records, pins, and the records of instances without a pin."""
        self._changes = 0

    @property
    def revision(self) -> int:
        """How often this process has changed pins and records. Others change them by hand only."""
        return self._changes + self.drains.revision

    def generation_dir(self, app_name: str, number: int) -> Path:
        return self._app(app_name) / "generations" / str(number)

    def write_generation(
        self,
        app_name: str,
        number: int,
        files: Mapping[str, tuple[str, int]],
        release_dir: str,
        links: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Write generation `number` with its files and symlinks, unless it exists with the same contents.

        A directory with other contents was left by a daemon that was killed before it recorded the generation. It is
        replaced, unless an instance uses it.
        """
        final, links = self.generation_dir(app_name, number), {**links, "release": release_dir}
        contents = {name: (text.encode(errors="surrogateescape"), mode) for name, (text, mode) in files.items()}
        with reported(f"write generation {number} of {app_name}"):
            if self._same(final, contents, links):
                # It may exist without being synced to the disk.
                self._disk.sync(final.parent)
                return
            if final.exists() and number in self.held(app_name).values():
                raise StateError(
                    f"generation {number} of {app_name} exists with other contents and is in use; see {final}"
                )
            self._disk.directories(final.parent)
            temporary = final.with_name(f".{number}.new")
            self._disk.remove(temporary)
            try:
                self._disk.directory(temporary)
                for name, (data, mode) in contents.items():
                    self._disk.write(temporary / name, data, mode)
                for name, target in links.items():
                    self._disk.symlink(target, temporary / name)
                self._disk.sync(temporary)
                self._disk.remove(final)
                self._disk.rename(temporary, final)
            except OSError:
                self._sweep(temporary)
                raise
            self._disk.sync(final.parent)

    def pin(self, app_name: str, instance: int, generation: int) -> None:
        """Make `instance` start with `generation` from now on, and end its standby."""
        self.pin_all(app_name, (instance,), generation)

    def pin_all(self, app_name: str, instances: Collection[int], generation: int) -> None:
        """Make each of `instances` start with `generation` from now on, and end its standby.

        Waits for the disk once: with an fsync for each, many instances that start together would wait for seconds.
        """
        if not self.generation_dir(app_name, generation).is_dir():
            raise StateError(f"generation {generation} of {app_name} is not on the disk; roll out again")
        self._changes += 1
        numbers = ", ".join(map(str, instances))
        which = f"instance {numbers}" if len(instances) == 1 else f"instances {numbers}"
        with reported(f"pin {which} of {app_name} to generation {generation}"):
            directory = self._app(app_name) / "pins"
            self._disk.directories(directory)
            with self._written(app_name, instances, generation):
                for instance in instances:
                    path = self._pin(app_name, instance)
                    if self._target(path) != generation:
                        self._disk.point(path, f"../generations/{generation}")
                self._disk.sync(directory)
            self._forget(app_name, instances)
            self.drains.end(app_name, instances)

    def unpin(self, app_name: str, instance: int) -> None:
        """Remove the pin and the standby record of `instance`, which cannot start any more."""
        self._changes += 1
        with reported(f"unpin instance {instance} of {app_name}"):
            self._forget(app_name, (instance,))  # first, because without the pin the record would apply
            path = self._pin(app_name, instance)
            if path.parent.is_dir():
                with self._written(app_name, (instance,), None):
                    self._disk.remove(path)
                    self._disk.sync(path.parent)
            self.drains.end(app_name, (instance,))

    def set_aside(self, app_name: str, instance: int, generation: int, since: float) -> None:
        """Replace the pin of `instance` by a record of its standby with `generation`; do nothing if there is one.

        `since` is in CLOCK_MONOTONIC seconds.
        """
        if self.standby(app_name).get(instance, StandbyRecord(0, 0.0)).generation == generation:
            return
        self._changes += 1
        self._read.pop(app_name, None)
        self._standby.pop(app_name, None)
        with reported(f"record the standby of instance {instance} of {app_name}"):
            record = self._record(app_name, instance)
            self._disk.directories(record.parent)
            self._disk.replace(record, f"{generation} {since:.6f}\n".encode(), 0o644)
            path = self._pin(app_name, instance)
            if path.parent.is_dir():
                self._disk.remove(path)
                self._disk.sync(path.parent)

    def standby(self, app_name: str) -> Mapping[int, StandbyRecord]:
        """Map instances in standby to their records. They may have ended since. Pinned instances are left out.

        As for `read`, the result is the same object as long as nothing changes.
        """
        with reported(f"read the standby records of {app_name}"):
            stamp = self._stamp(app_name, "standby")
            if stamp is None:
                return _NO_RECORDS
            known = self._standby.get(app_name)
            if known is None or known[0] != stamp:
                entries = self._entries(self._app(app_name) / "standby")
                names = (entry for entry in entries if _NUMBER.fullmatch(entry.name))
                found = {int(entry.name): record for entry in names if (record := self._parsed(entry)) is not None}
                known = self._standby[app_name] = stamp, dict(sorted(found.items()))
        records = known[1]
        if not records:
            return _NO_RECORDS
        pinned, before = self.read(app_name), self._unpinned.get(app_name)
        if before is None or before[0] is not records or before[1] is not pinned:
            left = {number: record for number, record in records.items() if number not in pinned}
            before = self._unpinned[app_name] = records, pinned, left
        return before[2]

    def held(self, app_name: str) -> dict[int, int]:
        """Map instances that need the files of their generation, pinned ones and those in standby, to generations."""
        standby = {number: record.generation for number, record in self.standby(app_name).items()}
        return dict(sorted({**standby, **self.read(app_name)}.items()))

    def read(self, app_name: str) -> Mapping[int, int]:
        """Map pinned instances to generations; other entries of the directory are ignored.

        The pins are read again only if the modification time of the directory is not that of the last write of this
        process; otherwise the result is the same object.
        """
        with reported(f"read the pins of {app_name}"):
            stamp = self._stamp(app_name, "pins")
            if stamp is None:
                return _NO_PINS
            known = self._read.get(app_name)
            if known is None or known[0] != stamp:
                found = ((entry.name, self._target(entry)) for entry in self._entries(self._app(app_name) / "pins"))
                pins = {int(name): target for name, target in found if target is not None and _NUMBER.fullmatch(name)}
                known = self._read[app_name] = stamp, dict(sorted(pins.items()))
            return known[1]

    @contextmanager
    def _written(self, app_name: str, instances: Collection[int], generation: int | None) -> Iterator[None]:
        """Note that the block sets the pins of instances, so that not all pins have to be read again after it."""
        before = self._read.pop(app_name, None)
        current = before is not None and before[0] == self._stamp(app_name, "pins")
        yield
        if before is not None and current and (stamp := self._stamp(app_name, "pins")) is not None:
            pins = dict(before[1])
            if generation is None:
                for instance in instances:
                    pins.pop(instance, None)
            elif pins.keys() >= set(instances):
                pins.update(dict.fromkeys(instances, generation))
            else:
                pins = dict(sorted({**pins, **dict.fromkeys(instances, generation)}.items()))
            self._read[app_name] = stamp, pins

    def _stamp(self, app_name: str, directory: str) -> int | None:
        """Return the modification time of pins or standby records in nanoseconds, None if there are none."""
        _require_name(app_name)
        try:
            return os.stat(f"{self._apps}/{app_name}/{directory}").st_mtime_ns  # noqa: PTH116 - called often
        except (FileNotFoundError, NotADirectoryError):
            return None

    def files(self, app_name: str, generation: int) -> frozenset[str]:
        """Return the names of a generation's files; none if it is not on the disk."""
        with reported(f"read generation {generation} of {app_name}"):
            return frozenset(entry.name for entry in self._entries(self.generation_dir(app_name, generation)))

    def generations(self, app_name: str) -> tuple[int, ...]:
        """Return the generations on the disk."""
        with reported(f"read the generations of {app_name}"):
            entries = self._entries(self._app(app_name) / "generations")
            return tuple(sorted(int(entry.name) for entry in entries if _NUMBER.fullmatch(entry.name)))

    def apps(self) -> list[str]:
        """Return the apps that have a directory on the disk."""
        with reported(f"read {self._apps}"):
            return [entry.name for entry in self._entries(self._apps) if NAME.fullmatch(entry.name)]

    def prune(self, app_name: str, keep: set[int]) -> None:
        """Remove generations that are neither in use nor in `keep`, and incomplete files of a killed daemon."""
        keep = keep | set(self.held(app_name).values())
        with reported(f"remove old generations of {app_name}"):
            for directory in ("generations", "pins", "standby", "draining"):
                for entry in self._entries(self._app(app_name) / directory):
                    half_written = entry.name.startswith(".") and entry.name.endswith(".new")
                    old = directory == "generations" and bool(_NUMBER.fullmatch(entry.name))
                    if half_written or (old and int(entry.name) not in keep):
                        self._disk.remove(entry)

    def require_writable(self, app_name: str) -> None:
        """Raise `StateError` if the state of the app could not be removed now. A full disk does not prevent that."""
        path = self._app(app_name)
        if path.is_dir() and not os.access(path, os.W_OK):
            raise StateError(f"cannot remove the state of {app_name}: {path} is read-only")

    def remove(self, app_name: str) -> None:
        """Remove the state of the app, its pins first, so that no instance starts with an incomplete generation."""
        self._changes += 1
        with reported(f"remove the state of {app_name}"):
            path = self._app(app_name)
            self._read.pop(app_name, None)
            self._standby.pop(app_name, None)
            if path.is_dir():
                self._disk.remove(path / "pins")
                self._disk.remove(path)
                self._disk.sync(path.parent)

    def _app(self, app_name: str) -> Path:
        _require_name(app_name)
        return self._apps / app_name

    def _pin(self, app_name: str, instance: int) -> Path:
        return self._app(app_name) / "pins" / str(instance)

    def _record(self, app_name: str, instance: int) -> Path:
        return self._app(app_name) / "standby" / str(instance)

    def _forget(self, app_name: str, instances: Collection[int]) -> None:
        """Remove the standby records of instances."""
        records = [path for number in instances if (path := self._record(app_name, number)).exists()]
        if records:
            self._standby.pop(app_name, None)
            for record in records:
                self._disk.remove(record)
            self._disk.sync(records[0].parent)

    @staticmethod
    def _parsed(record: Path) -> StandbyRecord | None:
        try:
            found = _RECORD.fullmatch(record.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        return StandbyRecord(int(found[1]), float(found[2])) if found else None

    @staticmethod
    def _entries(directory: Path) -> list[Path]:
        try:
            return sorted(directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @staticmethod
    def _target(pin: Path) -> int | None:
        try:
            target = _TARGET.fullmatch(os.readlink(pin))  # noqa: PTH115 - avoids hundreds of Path objects
        except OSError:
            return None
        return int(target[1]) if target else None

    @staticmethod
    def _same(directory: Path, contents: Mapping[str, tuple[bytes, int]], links: Mapping[str, str]) -> bool:
        try:
            return (
                {entry.name for entry in directory.iterdir()} == {*contents, *links}
                and all(str((directory / name).readlink()) == target for name, target in links.items())
                and all(
                    (directory / name).read_bytes() == data and (directory / name).stat().st_mode & 0o7777 == mode
                    for name, (data, mode) in contents.items()
                )
            )
        except OSError:
            return False

    def _sweep(self, temporary: Path) -> None:
        with suppress(OSError):  # the first error is the one to report; the next attempt removes what is left
            self._disk.remove(temporary)


def _require_name(app_name: str) -> None:
    """Raise InvalidRequest for what is no name: it may come from the bus and must not lead out of the directory."""
    if not app_name or "/" in app_name or app_name.startswith("."):
        raise InvalidRequest(f'"{app_name}" is not the name of an app')
