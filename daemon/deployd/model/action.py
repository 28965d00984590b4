"""The actions of the planner. The rollout has one function to carry out each of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """Pin instance `number` to `generation`, then start it."""

    number: int
    generation: int
    most: int | None = None
    """How many instances may have processes at a time, this one included; None for any number."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop instance `number` and remove its pin when it is down."""

    number: int
    generation: int | None
    why: str = "replaced"
    """``replaced``, ``failed`` or ``surplus``."""
    keep: bool = False
    """Leave the pin: the instance is to be started again."""
    drain: bool = False
    """It drains from now on: nothing waits for its end, and neither a boot nor systemd starts it again."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Pin a running instance to another generation that has the same release and the same settings."""

    number: int
    generation: int
    previous: int


@dataclass(frozen=True, slots=True)
class Unpin:
    """Remove the pin of an instance that does not run."""

    number: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """Put a replaced instance in standby: send no new connections there, set its pin aside, and freeze it when its
    connections have ended. Stop it as `Stop` does where that is impossible (memory, a watchdog)."""

    number: int
    generation: int


@dataclass(frozen=True, slots=True)
class Thaw:
    """Thaw an instance in standby and restore its pin. It is ready immediately: its process never ended."""

    number: int
    generation: int


Action = Start | Stop | Adopt | Unpin | Freeze | Thaw
