"""Generations: one release together with the settings it was rolled out with."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum

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

    def to_json(self) -> str:
        """The record that is kept beside the files of the generation."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Generation:
        """The inverse of :meth:`to_json`. Raises ValueError, TypeError or LookupError if the text is something else."""
        raw = json.loads(text)
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
