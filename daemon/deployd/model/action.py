"""What the planner may ask the shell to do. Frozen values; the shell has one function for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """Pin instance `number` to `generation`, then start it."""

    number: int
    generation: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop instance `number` and, when it is down, take its pin away."""

    number: int
    generation: int | None
    why: str = "replaced"
    """``replaced``, ``failed`` or ``surplus``."""
    keep: bool = False
    """The pin stays, for it is to be started again."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Re-label a running instance: same release, same settings, new generation."""

    number: int
    generation: int
    previous: int


@dataclass(frozen=True, slots=True)
class Unpin:
    """Take the pin of an instance away that does not run."""

    number: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """Take new connections from an instance that was replaced, set its pin aside and freeze it; where that cannot be
    (memory, a watchdog), stop it as `Stop` does."""

    number: int
    generation: int


@dataclass(frozen=True, slots=True)
class Thaw:
    """Let an instance in standby go on, and give it its pin back: it is ready, for it never ended."""

    number: int
    generation: int


Action = Start | Stop | Adopt | Unpin | Freeze | Thaw
