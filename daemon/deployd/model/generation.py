"""Generations: one release together with the settings it was rolled out with."""

from __future__ import annotations

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
class Generation:
    """A row of the history. Times are seconds since the epoch, UTC."""

    app: str
    number: int
    release: str
    """The real directory."""
    settings: App
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
