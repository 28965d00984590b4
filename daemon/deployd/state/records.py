"""The record of each generation, beside its files: what is known of it when the history is lost.

    STATE/apps/NAME/generations/N/generation.json

Written when its rollout begins, turns and ends; 0600, for settings hold the environment. The history comes first:
a record is read only when the history cannot be, or does not know of what is pinned.
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
from deployd.model.app import App
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Rollout
from deployd.state import rows
from deployd.state.disk import Disk, reported
from deployd.state.pins import Pins
from deployd.state.shape import require_shape

NAME = "generation.json"
LARGEST = 1 << 22
"""Bytes of a record that are read; the longest environment that a process can have is half of that."""

SettingsNow = Callable[[str], App | None]
"""An app's name to what its file says now."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the disk says of one app."""

    generations: tuple[Generation, ...]
    """Oldest first."""
    rollout: Rollout | None
    """The newest generation's, as it stood when it last turned, if it is under way."""
    pinned: frozenset[int]
    """Generations that instances start with."""
    last: int
    """The highest number of any generation."""


class Records:
    """Of all apps, beside the generations that `pins` knows."""

    def __init__(self, pins: Pins, settings_now: SettingsNow = lambda _: None, disk: Disk | None = None) -> None:
        self._pins = pins
        self._settings_now = settings_now
        self._disk = disk or Disk()

    def write(self, generation: Generation, rollout: Rollout | None = None) -> None:
        """Keep what is known of a generation and its `rollout`, as long as its files are there. Raises StateError."""
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
        """With the record of a generation that is made within; taken back if it is not. Raises StateError."""
        self.write(generation, rollout)
        try:
            yield
        except StateError:
            with contextlib.suppress(OSError):
                self._disk.remove(self._path(generation.app, generation.number))
            raise

    def read(self, app: str, number: int) -> Generation | None:
        """The record of a generation, if there is one that can be read."""
        try:
            found = Generation.from_dict(json.loads(_read(self._path(app, number)))["generation"])
            require_shape(found)
        except (OSError, *rows.UNREADABLE):
            return None
        return found if (found.app, found.number, found.settings.name) == (app, number, app) else None

    def apps(self) -> list[str]:
        """The apps that have generations on the disk, or that cannot be looked at. Raises StateError."""
        return [name for name in self._pins.apps() if self._may_have(name)]

    def found(self, app: str) -> Found:
        """All that the disk says of `app`. Raises StateError."""
        pinned, numbers = frozenset(self._pins.read(app).values()), self._numbers(app)
        generations = [self.read(app, number) or self._guess(app, number, pinned) for number in numbers]
        known = tuple(item for item in generations if item is not None)
        rollout = self._rollout(app, numbers[-1]) if numbers else None
        return Found(known, rollout, pinned, max({*numbers, *pinned}, default=0))

    def beyond(self, app: str, known: Collection[int], last: int) -> int | None:
        """A generation on the disk that a history lacks which has those `known` and gave out numbers up to `last`.

        The files of a generation are written before it is made, and its pins may be: what a daemon that was killed in
        between has left is none.
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
        """A generation that runs and has no record: its release is known; for its settings the app file has to do."""
        settings = self._settings_now(app) if number in pinned else None
        if settings is None:
            return None
        directory = self._pins.generation_dir(app, number)
        try:
            release, made = os.readlink(directory / "release"), directory.stat().st_mtime  # noqa: PTH115 - as text
        except OSError:
            return None
        return Generation(
            app=app,
            number=number,
            release=release,
            settings=settings,
            # Equal to none: what runs may have been started otherwise than the app file says now.
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
            raise ValueError(f"{path} is no regular file")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"{path} is too long")
    return data.decode()
