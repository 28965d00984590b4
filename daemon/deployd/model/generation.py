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
    """Why a generation was made."""

    APPLY = "apply"
    ROLLOUT = "rollout"
    ROLLBACK = "rollback"
    RESTART = "restart"
    SCALE = "scale"
    RELOAD = "reload"


class Result(StrEnum):
    """How its rollout ended (a contract)."""

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
    """The real directory."""
    fingerprint: str
    cause: Cause
    result: Result
    reason: str
    started: float
    finished: float | None = None
    replaced: tuple[int, ...] = ()
    adopted: tuple[int, ...] = ()
    origin: int | None = None
    """The generation the app was at when this one was made."""
    contents: str = ""
    """Stands for what the release directory held; "" if that is not known."""
    irreversible: bool = False
    """Not to be rolled back past."""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation(Entry):
    """An entry with its settings."""

    settings: App

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Generation:
        """The inverse of dataclasses.asdict and JSON. Raises ValueError, TypeError or LookupError if it is no such."""
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
