"""What is remembered of an instance that dies on its own."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Crashes:
    """Of one instance, from one look at it to the next; kept on disk while `count` is not 0.

    Times are CLOCK_MONOTONIC seconds.
    """

    generation: int | None
    invocation: str = ""
    """The one that was seen last."""
    restarts: int = 0
    """NRestarts= when it was first seen."""
    dead: bool = False
    """Its death is counted, or was none to count."""
    count: int = 0
    """In a row."""
    times: tuple[float, ...] = ()
    """When the first of them were."""
    why: str = ""
    """What the last one died of, as the end of a sentence that begins with "instance 3"."""
    last: str = ""
    """The invocation that died last."""
    at: float = 0.0
    """When it did."""
    retry_at: float | None = None
    """deployd keeps it down until then."""

    def sentence(self, boot: float) -> str:
        """Return why deployd keeps the instance down, as the end of a sentence.

        `boot`: CLOCK_REALTIME at CLOCK_MONOTONIC 0, in seconds.
        """
        died = f" ({self.why.removeprefix('was ')})" if self.why else ""
        text = f"crashed {self.count} times in {_span(self.at - self.times[0])}{died}"
        if self.retry_at is None:
            return text
        return f"{text}; next try at {datetime.fromtimestamp(boot + self.retry_at, UTC).astimezone():%H:%M:%S}"

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Crashes:
        """The inverse of :meth:`to_json`."""
        raw = json.loads(text)
        return cls(**{**raw, "times": tuple(raw["times"])})


@dataclass(frozen=True, slots=True)
class Trouble:
    """An instance that crashes, as it is shown."""

    crashes: Crashes
    journal: tuple[str, ...] = ()
    """The last lines of the invocation that died last, oldest first."""


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{round(seconds / 3600)} h"
