"""Events of an app: the lines of progress that the daemon broadcasts and logs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any


class EventName(StrEnum):
    """The `event` of RolloutEvent (org.deployd1)."""

    STARTED = "started"
    INSTANCE = "instance"
    """An instance changed its state."""
    PROBE = "probe"
    """The probe of an instance does not succeed yet."""
    SMOKE = "smoke"
    """A smoke test began or ended."""
    HOOK = "hook"
    ANALYSIS = "analysis"
    FAILED_GATE = "failed-gate"
    ROLLING_BACK = "rolling-back"
    PAUSED = "paused"
    RESUMED = "resumed"
    CLOSING = "closing"
    """The instances are replaced once more, without the addresses that `listen` no longer has."""
    CRASH_LOOP = "crash-loop"
    ADDRESS = "address"
    """A listening address was closed, or is open again."""
    WATCH = "watch"
    """The probation of a generation began or ended."""
    TAKEN_BACK = "taken-back"
    """A generation that failed its probation has been replaced by the one before."""
    WAITING = "waiting"
    """The rollout has waited for an instance, or for something else, for a while."""
    LISTENER = "listener"
    """An instance that is ready no longer has the app's listening socket, or has it again."""
    WARNING = "warning"
    FINISHED = "finished"


Emit = Callable[[EventName, dict[str, Any]], None]
"""Report an event of an app with its fields."""
