"""The record of each generation, kept alongside its files so that the history can be rebuilt.

    STATE/apps/NAME/generations/N/generation.json

Written when the rollout begins, changes phase and ends; mode 0600, because settings contain the environment. Records
are read only if the history is unusable or lacks a generation that is on disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import StateError
from deployd.model.app import CAPTURED, App
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Rollout
from deployd.state import rows
from deployd.state.disk import Disk, reported
from deployd.state.pins import Pins
from deployd.state.shape import require_shape

NAME = "generation.json"
LARGEST = 1 << 22
"""Longest record in bytes; the largest environment that a process can have is half of that."""

SettingsNow = Callable[[str], App | None]
"""Returns the settings in the app file of an app, None if there is no valid one."""


@dataclass(frozen=True, slots=True)
class Found:
    """The state of one app found on disk."""

    generations: tuple[Generation, ...]
    """Oldest first."""
    rollout: Rollout | None
    """The rollout of the newest generation as of its last change of phase, if it is in progress."""
    pinned: frozenset[int]
    """Generations with which instances start."""
    last: int
    """The highest number of any generation."""


class Records:
    """The records of all apps, alongside the generations of `pins`."""

    def __init__(self, pins: Pins, settings_now: SettingsNow = lambda _: None, disk: Disk | None = None) -> None:
        self._pins = pins
        self._settings_now = settings_now
        self._disk = disk or Disk()

    def write(self, generation: Generation, rollout: Rollout | None = None) -> None:
        """Write the record of a generation and its `rollout`, if the generation has files. Raises StateError."""
        directory = self._pins.generation_dir(generation.app, generation.number)
        if directory.is_dir():
            with reported(f"write the record of generation {generation.number} of {generation.app}"):
                known = {
                    "generation": dataclasses.asdict(generation),
                    "rollout": None if rollout is None else rows.rollout_row(rollout),
                }
                self._disk.replace(directory / NAME, json.dumps(known, sort_keys=True).encode(), 0o600)

    @contextlib.contextmanager
    def written(self, generation: Generation, rollout: Rollout) -> Iterator[None]:
        """Write the record before a transaction, and remove it if the transaction fails. Raises StateError."""
        self.write(generation, rollout)
        try:
            yield
        except StateError:
            with contextlib.suppress(OSError):
                self._disk.remove(self._path(generation.app, generation.number))
            raise

    def read(self, app: str, number: int) -> Generation | None:
        """Return the generation in a record, None if the record cannot be read."""
        try:
            found = Generation.from_dict(json.loads(_read(self._path(app, number)))["generation"])
            require_shape(found)
        except (OSError, *rows.UNREADABLE):
            return None
        return found if (found.app, found.number, found.settings.name) == (app, number, app) else None

    def apps(self) -> list[str]:
        """Return the apps that have generations on disk, or whose directory cannot be read. Raises StateError."""
        return [name for name in self._pins.apps() if self._may_have(name)]

    def found(self, app: str) -> Found:
        """Return the state of `app` found on disk. Raises StateError."""
        pinned, numbers = frozenset(self._pins.read(app).values()), self._numbers(app)
        generations = [self.read(app, number) or self._guess(app, number, pinned) for number in numbers]
        known = tuple(item for item in generations if item is not None)
        rollout = self._rollout(app, numbers[-1]) if numbers else None
        return Found(known, rollout, pinned, max({*numbers, *pinned}, default=0))

    def beyond(self, app: str, known: Collection[int], last: int) -> int | None:
        """Return a generation on disk that a history with the generations `known` and numbers up to `last` lacks.

        The files of a generation, and the pins of an app that is being installed, are written before its row, so those
        of a daemon that was killed in between do not count.
        """
        for number in sorted(set(self._pins.read(app).values()).difference(known)):
            if number != last + 1 or self._path(app, number).exists():
                return number
        for number in self._numbers(app):
            record = self.read(app, number) if number > last else None
            if record is not None and record.result is not Result.RUNNING:
                return number
        return None

    def _rollout(self, app: str, number: int) -> Rollout | None:
        try:
            row = json.loads(_read(self._path(app, number)))["rollout"]
            if row is None:
                return None
            found = rows.rollout(app, tuple(row))
            require_shape(found)
        except (OSError, *rows.UNREADABLE):
            return None
        return found

    def _guess(self, app: str, number: int, pinned: frozenset[int]) -> Generation | None:
        """Return a pinned generation without a readable record, with its release and the settings of the app file."""
        settings = self._settings_now(app) if number in pinned else None
        if settings is None:
            return None
        directory = self._pins.generation_dir(app, number)
        try:
            release, made = os.readlink(directory / "release"), directory.stat().st_mtime  # noqa: PTH115 - as text
            captured = [path.read_bytes().decode("latin-1") for path in sorted(directory.glob(f"{CAPTURED}*"))]
        except OSError:
            return None
        return Generation(
            app=app,
            number=number,
            release=release,
            settings=dataclasses.replace(settings, environment_contents=tuple(captured)),
            # Unique, because the app file may have changed since the instances were started.
            fingerprint=f"unknown-{number}",
            cause=Cause.APPLY,
            result=Result.SUCCEEDED,
            reason="its record cannot be read: the settings are those of the app file",
            started=made,
            finished=made,
        )

    def _may_have(self, app: str) -> bool:
        try:
            return bool(self._numbers(app))
        except StateError:
            return True

    def _numbers(self, app: str) -> list[int]:
        return [number for number in self._pins.generations(app) if number]

    def _path(self, app: str, number: int) -> Path:
        return self._pins.generation_dir(app, number) / NAME


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is not a regular file")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"{path} is too long")
    return data.decode()
