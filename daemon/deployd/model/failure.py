"""What went wrong, told whole: which instance, which gate, waiting for what, how long, how it ended, its last words."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum


class GateName(StrEnum):
    """Where a rollout failed."""

    NOTIFY = "notify"
    EXEC = "exec"
    PROBE = "probe"
    MIN_READY = "min-ready"
    STAY_UP = "stay-up"
    """It had passed, and crashed while the rollout went on."""
    DEADLINE = "deadline"
    RELEASE = "release"
    """The release directory vanished or was changed."""
    HOOK = "hook"
    ANALYSIS = "analysis"
    """The command that looks at both generations said no."""
    UNITS = "units"
    """systemd would not have the units, or the socket could not be opened."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Kept with the generation whose rollout failed. Times in seconds."""

    gate: GateName
    reason: str
    """One sentence, without the journal."""
    instance: int | None = None
    waited_for: str = ""
    """``READY=1``, ``GET /_status to answer 200``, ``min_ready 5s`` …"""
    waited: float | None = None
    exit_status: int | None = None
    signal: str | None = None
    """``SIGSEGV``; what it was killed by."""
    journal: tuple[str, ...] = ()
    """The last lines that the instance or the hook wrote, oldest first."""

    def to_json(self) -> str:
        """What the history keeps, and --json shows."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Failure:
        """The inverse of :meth:`to_json`."""
        raw = json.loads(text)
        return cls(**{**raw, "gate": GateName(raw["gate"]), "journal": tuple(raw["journal"])})
