"""Generations: one release together with the settings it was rolled out with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deployd.model.app import App
from deployd.model.failure import Failure


class Cause(StrEnum):
    """The request that made a generation."""

    APPLY = "apply"
    ROLLOUT = "rollout"
    ROLLBACK = "rollback"
    WATCH = "watch"
    """A rollback by deployd itself, because the generation before failed its probation."""
    RESTART = "restart"
    RESTART_PROCESS = "restart-process"
    """A restart of one process type, in the generations of the app and of its other process types."""
    SCALE = "scale"
    RELOAD = "reload"

    @property
    def rolls_back(self) -> bool:
        """True if the generation leaves a bad one for one that was good before."""
        return self in (Cause.ROLLBACK, Cause.WATCH)


class Result(StrEnum):
    """The result of the rollout that made a generation. The values are part of the API."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    SUPERSEDED = "superseded"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Entry:
    """A generation without its settings, as lists and rollbacks need it. Times are seconds since the epoch, UTC."""

    app: str
    number: int
    release: str
    """The directory of the release, without symlinks."""
    fingerprint: str
    cause: Cause
    result: Result
    reason: str
    started: float
    finished: float | None = None
    replaced: tuple[int, ...] = ()
    adopted: tuple[int, ...] = ()
    origin: int | None = None
    """The generation that the app was at when this one was made."""
    contents: str = ""
    """A digest of the files in the release directory, or "" if it is not known."""
    irreversible: bool = False
    """True if a rollback to an older generation is not allowed."""
    failure: Failure | None = None
    fleet: str = ""
    """The ID of the rollout of several hosts to which it belongs, see model/fleet.py; "" if it belongs to none."""
    token: int = 0
    """The token of that rollout."""
    duration: float | None = None
    """Seconds that its rollout took, measured: `finished - started` would follow the wall clock, which may be set
    meanwhile. None while it runs, and if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation(Entry):
    """A generation with its settings."""

    settings: App

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Generation:
        """Return the generation from which dataclasses.asdict and JSON made `raw`.

        Raises ValueError, TypeError or LookupError for anything else.
        """
        return cls(
            **{
                **raw,
                "cause": Cause(raw["cause"]),
                "result": Result(raw["result"]),
                "replaced": tuple(raw["replaced"]),
                "adopted": tuple(raw["adopted"]),
                "failure": None if raw["failure"] is None else Failure.from_json(json.dumps(raw["failure"])),
                "settings": App.from_json(json.dumps(raw["settings"])),
            }
        )
