"""What is remembered of an instance that dies on its own."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


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
