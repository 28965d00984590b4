"""The crashes of an instance, which decide whether deployd keeps it down for a while."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime

WAITS = "waits for its release, which is not there or cannot be entered"


@dataclass(frozen=True, slots=True)
class Crashes:
    """The crashes of one instance, stored on disk while it matters. Times are CLOCK_MONOTONIC seconds."""

    generation: int | None
    invocation: str = ""
    """The invocation ID that was seen last."""
    restarts: int = 0
    """NRestarts= when that invocation was first seen."""
    dead: bool = False
    """The end of that invocation is counted already, or was no crash."""
    count: int = 0
    """Crashes in a row."""
    times: tuple[float, ...] = ()
    """The times of the first of them."""
    why: str = ""
    """The reason of the last crash, as the end of a sentence that begins with "instance 3"."""
    last: str = ""
    """The invocation ID that crashed last."""
    at: float = 0.0
    """The time of that crash."""
    retry_at: float | None = None
    """The time until which deployd keeps the instance down, if it does."""
    absent: bool = False
    """It ended because its release could not be entered: it is started as soon as that is mounted, for example."""
    before: int = 0
    """Automatic restarts up to the last start by deployd, which resets NRestarts=, and including that start."""

    @property
    def matters(self) -> bool:
        """False for an instance without a past."""
        return bool(self.count or self.before)

    def sentence(self, boot: float) -> str:
        """Return why deployd keeps the instance down, as the end of a sentence.

        `boot`: CLOCK_REALTIME at CLOCK_MONOTONIC 0, in seconds.
        """
        died = f" ({self.why.removeprefix('was ')})" if self.why else ""
        crashed = f"crashed {self.count} times in {_span(self.at - self.times[0])}" if self.count > 1 else "ended"
        text = WAITS if self.absent else f"{crashed}{died}"
        if self.retry_at is None:
            return text
        return f"{text}; next try at {datetime.fromtimestamp(boot + self.retry_at, UTC).astimezone():%H:%M:%S}"

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Crashes:
        """Return the crashes from their :meth:`to_json`."""
        raw = json.loads(text)
        return cls(**{**raw, "times": tuple(raw["times"])})


@dataclass(frozen=True, slots=True)
class Crash:
    """One crash of an instance while no rollout was under way."""

    instance: int
    generation: int
    at: float
    """CLOCK_MONOTONIC seconds."""
    why: str = ""
    """The reason, as the end of a sentence that begins with "instance 3"."""
    invocation: str = ""
    """The invocation ID that crashed."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The crashes of an instance, as they are shown."""

    crashes: Crashes
    journal: tuple[str, ...] = ()
    """The last lines of the invocation that crashed last, oldest first."""
    said: str = ""
    """What systemd said of that crash and what to do about it, to be added to the reason."""


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{round(seconds / 3600)} h"
