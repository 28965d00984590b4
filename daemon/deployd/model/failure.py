"""Why a rollout failed: instance, gate, what was waited for and how long, exit status, last lines of the journal."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum


class GateName(StrEnum):
    """The stage at which a rollout failed."""

    NOTIFY = "notify"
    EXEC = "exec"
    PROBE = "probe"
    LISTENER = "listener"
    """It is ready, but does not have the listening socket that it was passed."""
    WATCHDOG = "watchdog"
    """It has answered none of its requests for the watchdog time."""
    MIN_READY = "min-ready"
    STAY_UP = "stay-up"
    """The instance had passed its gate and crashed later in the rollout."""
    DEADLINE = "deadline"
    RELEASE = "release"
    """The release directory vanished or was changed."""
    SMOKE = "smoke"
    """A smoke test failed."""
    HOOK = "hook"
    ANALYSIS = "analysis"
    """The analysis command rejected the new generation."""
    WATCH = "watch"
    """The generation crashed, or failed its probes, during its probation."""
    UNITS = "units"
    """systemd rejected the units, or a socket could not be opened."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a rollout, stored with its generation. Times in seconds."""

    gate: GateName
    reason: str
    """One sentence, without the journal."""
    instance: int | None = None
    waited_for: str = ""
    """``READY=1``, ``GET /_status to answer 200``, ``min_ready 5s`` …"""
    waited: float | None = None
    exit_status: int | None = None
    signal: str | None = None
    """The signal that killed the process, such as ``SIGSEGV``."""
    journal: tuple[str, ...] = ()
    """The last lines that the instance or the hook wrote, oldest first."""

    def to_json(self) -> str:
        """Return the failure as the history stores it and --json shows it."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Failure:
        """Return the failure from its :meth:`to_json`."""
        raw = json.loads(text)
        return cls(**{**raw, "gate": GateName(raw["gate"]), "journal": tuple(raw["journal"])})
